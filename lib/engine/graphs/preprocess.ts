import { GraphBuilder } from '../onnx/builder';

export interface PreprocessOptions {
  /** per channel, of RGB / 255 */
  mean: number[];
  std: number[];
  /** network input, pixels: what is cut out of the resized picture */
  width: number;
  height: number;
  /** round to whole grey levels between the passes of the resize, as Pillow does; else stay in float as torch does */
  pillow: boolean;
  interpolation: 'linear' | 'cubic';
  /**
   * Linear: the outermost pixels as PyTorch has them too, which exported networks expect. Without it ONNX repeats the edge; detectors with a
   * memory bank keep that, as they found more so (mvtec_screw, 1 %, seed 0: .922 against .877).
   */
  exactEdges?: boolean;
}

/**
 * uint8 picture to network input.
 * Inputs: `image` uint8 [H, W, 3]; `size` int64 [2] = resized height, resized width; `start` int64 [2] = top, left of the crop.
 * Output: `input` float32 [1, 3, height, width], (RGB / 255 - mean) / std. The resize is antialiased,
 * of the interleaved pixels as they come: a quarter faster in ONNX Runtime's code for processors than plane by plane. It runs on the processor
 * whatever the device, as not every one has an antialiased resize (WebGPU), and so that the network is given the same everywhere.
 */
export function preprocessGraph(options: PreprocessOptions): Uint8Array {
  const { mean, std, width, height, pillow, interpolation, exactEdges = false } = options;
  const g = new GraphBuilder();
  const image = g.input('image', 'uint8', ['H', 'W', 3]);
  const size = g.input('size', 'int64', [2]);
  const start = g.input('start', 'int64', [2]);
  const toPlanes = (x: string): string => g.op('Transpose', [x], { perm: [0, 3, 1, 2] });
  const one = g.op('Unsqueeze', [image, g.ints(0)]);
  const toFloat = (x: string): string => g.op('Cast', [x], { to: 1 });
  const resize = (x: string): string =>
    g.op('Resize', [x, '', '', size], {
      mode: interpolation,
      axes: [1, 2],
      antialias: 1,
      coordinate_transformation_mode: 'half_pixel',
      // as Pillow and PyTorch's antialiased resize have it (to .003 grey levels); ONNX's own defaults differ by 10 and more at the edges
      ...((interpolation === 'cubic' || exactEdges) && { exclude_outside: 1 }),
      ...(interpolation === 'cubic' && { cubic_coeff_a: { float: -0.5 } })
    });
  const resized = toPlanes(pillow ? toFloat(resize(one)) : resize(toFloat(one)));
  const end = g.op('Add', [start, g.ints(height, width)]);
  const cropped = g.op('Slice', [resized, start, end, g.ints(2, 3)]);
  const perChannel = (f: (c: number) => number): string => g.floats(Float32Array.from([0, 1, 2], f), [1, 3, 1, 1]);
  const scaled = g.op('Mul', [cropped, perChannel(c => 1 / (255 * std[c]))]);
  g.output(g.op('Sub', [scaled, perChannel(c => mean[c] / std[c])]), 'input', 'float', [1, 3, height, width]);
  return g.build();
}

/** Where the inspected window lies: the resized picture and the crop in it, in resized pixels. */
export interface Window {
  resizedWidth: number;
  resizedHeight: number;
  left: number;
  top: number;
}

/** Geometry of one picture's way into the network; `resizeShorter` 0 resizes straight to the input, aspect not kept. */
export function windowOf(
  width: number,
  height: number,
  input: { width: number; height: number },
  resizeShorter: number
): Window {
  if (!resizeShorter) return { resizedWidth: input.width, resizedHeight: input.height, left: 0, top: 0 };
  const scale = resizeShorter / Math.min(width, height);
  // the longer side is cut, not rounded, and the crop's corner rounded: torchvision's Resize and CenterCrop
  const resizedWidth = width <= height ? resizeShorter : Math.trunc(width * scale);
  const resizedHeight = width <= height ? Math.trunc(height * scale) : resizeShorter;
  return {
    resizedWidth,
    resizedHeight,
    left: roundHalfEven((resizedWidth - input.width) / 2),
    top: roundHalfEven((resizedHeight - input.height) / 2)
  };
}

/** Python's round: halves go to the even neighbour. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}
