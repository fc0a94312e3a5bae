import { GraphBuilder } from '../onnx/builder';
import type { NetworkFacts } from '../types';

/** Of the structural similarity: Wang et al., Image Quality Assessment, 2004 (11 x 11 Gaussian, sigma 1.5, K1 .01, K2 .03). */
const SSIM = { side: 11, sigma: 1.5, k1: 0.01, k2: 0.03 };

/**
 * How far the picture that an autoencoder gives back is from the one that it was given.
 * Inputs: `given` float32 [1, 3, h, w]; `back` float32 the same, or [1, h, w, 3]. Outputs: `map` float32 [h, w], the mean over the channels
 * of the squared difference, or of 1 - SSIM; `score` float32 [1], its mean.
 * @param range largest less smallest value that a pixel can have
 */
export function reconstructionGraph(
  kind: NetworkFacts['reconstruction'],
  channelsLast: boolean,
  range: number
): Uint8Array {
  const g = new GraphBuilder();
  const given = g.input('given', 'float', [1, 3, 'h', 'w']);
  const raw = g.input('back', 'float', channelsLast ? [1, 'h', 'w', 3] : [1, 3, 'h', 'w']);
  const back = channelsLast ? g.op('Transpose', [raw], { perm: [0, 3, 1, 2] }) : raw;
  const difference = kind === 'ssim' ? dissimilarity(g, given, back, range) : square(g, g.op('Sub', [given, back]));
  const map = g.op('ReduceMean', [difference, g.ints(0, 1)], { keepdims: 0 });
  g.output(map, 'map', 'float', ['h', 'w']);
  g.output(g.op('Reshape', [g.op('ReduceMean', [difference]), g.ints(1)]), 'score', 'float', [1]);
  return g.build();
}

const square = (g: GraphBuilder, x: string): string => g.op('Mul', [x, x]);

/** 1 - SSIM of each pixel and channel. */
function dissimilarity(g: GraphBuilder, x: string, y: string, range: number): string {
  const [c1, c2] = [SSIM.k1, SSIM.k2].map(k => g.scalar((k * range) ** 2));
  const kernel = gaussian(g);
  const [meanX, meanY] = [x, y].map(t => blur(g, t, kernel));
  const product = g.op('Mul', [meanX, meanY]);
  const squares = g.op('Add', [square(g, meanX), square(g, meanY)]);
  const energy = blur(g, g.op('Add', [square(g, x), square(g, y)]), kernel);
  const covariance = g.op('Sub', [blur(g, g.op('Mul', [x, y]), kernel), product]);
  const twice = (t: string): string => g.op('Add', [t, t]);
  const above = g.op('Mul', [g.op('Add', [twice(product), c1]), g.op('Add', [twice(covariance), c2])]);
  const below = g.op('Mul', [g.op('Add', [squares, c1]), g.op('Add', [g.op('Sub', [energy, squares]), c2])]);
  return g.op('Sub', [g.scalar(1), g.op('Div', [above, below])]);
}

function gaussian(g: GraphBuilder): string {
  const { side, sigma } = SSIM;
  const line = Array.from({ length: side }, (_, i) => Math.exp(-((i - (side >> 1)) ** 2) / (2 * sigma * sigma)));
  const sum = line.reduce((a, b) => a + b, 0);
  const values = Array.from(
    { length: 3 * side * side },
    (_, i) => (line[i % side] * line[Math.floor(i / side) % side]) / sum ** 2
  );
  return g.floats(Float32Array.from(values), [3, 1, side, side]);
}

/** Each channel alone; reflected at the edges. */
function blur(g: GraphBuilder, x: string, kernel: string): string {
  const edge = SSIM.side >> 1;
  const padded = g.op('Pad', [x, g.ints(0, 0, edge, edge, 0, 0, edge, edge)], { mode: 'reflect' });
  return g.op('Conv', [padded, kernel], { group: 3, kernel_shape: [SSIM.side, SSIM.side] });
}
