import { GraphBuilder } from '../onnx/builder';
import type { Embedding } from '../presets';
import type { Form, Size } from '../taps';

/** How layers become patch embeddings. */
export interface PatchOptions {
  layers: {
    channels: number;
    form: Form;
    /** what its numbers are multiplied with; 1: as they are */
    weight: number;
  }[];
  embedding: Embedding;
  /** network input, pixels */
  width: number;
  height: number;
}

/**
 * Layers to patch embeddings.
 * Inputs: `layer0`, `layer1`, ... float32, as their forms say (see Form), the shallowest first. Output: `patches` float32
 * [N, h0 * w0, D].
 *
 * `concat` (anomalib): 3x3 average pool of each map, deeper ones enlarged bilinearly to the shallowest one's grid, channels
 * joined; D = sum of Ci. A number E (patchcore-inspection): each 3x3 neighbourhood of C channels, a vector of 9 C, is averaged
 * adaptively to E numbers, enlarged, joined over the layers and averaged to E again; D = E.
 * `unit` (AnomalyDINO): maps as they are, enlarged and joined; each patch divided by its length.
 * Source: Roth et al., Towards Total Recall in Industrial Anomaly Detection (2022), eq. 1-3; Damm et al., AnomalyDINO (2025), sec. 3.
 */
export function patchGraph({ layers, embedding, width, height }: PatchOptions): Uint8Array {
  const g = new GraphBuilder();
  const local = layers.map(({ channels, form, weight }, i) => {
    const map = asMap(g, `layer${i}`, channels, form, { width, height });
    const pooled =
      embedding === 'unit'
        ? map
        : embedding === 'concat'
          ? averagePool(g, map)
          : adaptivePool(g, map, channels, embedding);
    return weight === 1 ? pooled : g.op('Mul', [pooled, g.scalar(weight)]);
  });
  const grid = g.op('Shape', [local[0]], { start: 2, end: 4 });
  const joined = g.op('Concat', [local[0], ...local.slice(1).map(map => enlarge(g, map, grid))], { axis: 1 });
  const averaged = typeof embedding === 'number';
  const map = averaged ? averageLayers(g, joined, embedding, layers.length) : joined;
  const depth = averaged ? embedding : layers.reduce((sum, { channels }) => sum + channels, 0);
  const flat = g.op('Reshape', [map, g.ints(0, depth, -1)]);
  const patches = g.op('Transpose', [flat], { perm: [0, 2, 1] });
  g.output(embedding === 'unit' ? unitLength(g, patches) : patches, 'patches', 'float', ['N', 'P', depth]);
  return g.build();
}

/** Declares a layer as an input and brings it to [N, C, h, w]; of tokens the last ones, which are those of the patches. */
function asMap(g: GraphBuilder, name: string, channels: number, form: Form, { width, height }: Size): string {
  if (form.kind === 'map') return g.input(name, 'float', ['N', channels, `h_${name}`, `w_${name}`]);
  if (form.kind === 'channels-last') {
    const layer = g.input(name, 'float', ['N', `h_${name}`, `w_${name}`, channels]);
    return g.op('Transpose', [layer], { perm: [0, 3, 1, 2] });
  }
  const [rows, columns] = [height / form.patch, width / form.patch];
  const tokens = g.input(name, 'float', ['N', `t_${name}`, channels]);
  const ofPatches = g.op('Slice', [tokens, g.ints(-rows * columns), g.ints(2 ** 31 - 1), g.ints(1)]);
  return g.op('Reshape', [g.op('Transpose', [ofPatches], { perm: [0, 2, 1] }), g.ints(0, channels, rows, columns)]);
}

function unitLength(g: GraphBuilder, patches: string): string {
  const length = g.op('ReduceL2', [patches, g.ints(2)]);
  return g.op('Div', [patches, g.op('Max', [length, g.scalar(1e-12)])]);
}

function averagePool(g: GraphBuilder, map: string): string {
  return g.op('AveragePool', [map], {
    kernel_shape: [3, 3],
    strides: [1, 1],
    pads: [1, 1, 1, 1],
    count_include_pad: 1
  });
}

/** Bilinear (align_corners false) to the grid of the shallowest layer. */
function enlarge(g: GraphBuilder, map: string, grid: string): string {
  const size = g.op('Concat', [g.op('Shape', [map], { start: 0, end: 2 }), grid], { axis: 0 });
  return g.op('Resize', [map, '', '', size], { mode: 'linear', coordinate_transformation_mode: 'half_pixel' });
}

/**
 * Unfold 3x3 with zero padding and adaptive average pooling of the [C * 9] vector to `size` are linear, so they are one
 * convolution; each output looks at neighbouring channels only, which makes it a grouped one.
 */
function adaptivePool(g: GraphBuilder, map: string, channels: number, size: number): string {
  const group = greatestCommonDivisor(channels, size);
  const perGroup = channels / group;
  const weight = new Float32Array(size * perGroup * 9);
  for (let i = 0; i < size; i++) {
    const from = Math.floor((i * channels * 9) / size);
    const to = Math.ceil(((i + 1) * channels * 9) / size);
    const offset = Math.floor((i * group) / size) * perGroup * 9;
    weight.fill(1 / (to - from), i * perGroup * 9 + from - offset, i * perGroup * 9 + to - offset);
  }
  return g.op('Conv', [map, g.floats(weight, [size, perGroup, 3, 3])], {
    kernel_shape: [3, 3],
    pads: [1, 1, 1, 1],
    group
  });
}

/** [N, L * E, h, w] to [N, E, h, w]: E bins of L neighbouring numbers each. */
function averageLayers(g: GraphBuilder, map: string, size: number, layers: number): string {
  const shape = g.op('Shape', [map], { start: 2, end: 4 });
  const bins = g.op('Concat', [g.ints(-1, size, layers), shape], { axis: 0 });
  return g.op('ReduceMean', [g.op('Reshape', [map, bins]), g.ints(2)], { keepdims: 0 });
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
