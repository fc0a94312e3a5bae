import { GraphBuilder } from '../onnx/builder';

/**
 * Patch distances to an anomaly map. Enlarging, blurring and resizing are linear and separable, so each axis is one matrix:
 * map = rows (distance grid) columns^T.
 * Inputs: `grid` float32 [h, w]; `rows` float32 [H, h]; `columns` float32 [w, W]. Output: `map` float32 [H, W].
 */
export function mapGraph(): Uint8Array {
  const g = new GraphBuilder();
  const grid = g.input('grid', 'float', ['h', 'w']);
  const rows = g.input('rows', 'float', ['H', 'h']);
  const columns = g.input('columns', 'float', ['w', 'W']);
  g.output(spread(g, grid, rows, columns), 'map', 'float', ['H', 'W']);
  return g.build();
}

/** rows (grid) columns. */
export const spread = (g: GraphBuilder, grid: string, rows: string, columns: string): string =>
  g.op('MatMul', [g.op('MatMul', [rows, grid]), columns]);

/** A dense matrix, row-major [rows, columns]. */
export interface Matrix {
  data: Float64Array;
  rows: number;
  columns: number;
}

export interface AxisOptions {
  enlarge: 'nearest' | 'bilinear';
  /** Gaussian sigma, pixels of the network input; 0: none */
  sigma: number;
  /** at the edges: `reflect` abcd|cba (torch), `mirror` abcd|dcba (scipy's reflect) */
  edges: 'reflect' | 'mirror';
}

/** Patch grid of `grid` cells to the network input of `input` pixels along one axis: enlarge, then blur (radius 4 sigma). */
export function axisMatrix(grid: number, input: number, { enlarge, sigma, edges }: AxisOptions): Matrix {
  const enlarged =
    enlarge === 'nearest'
      ? nearestMatrix(grid, input)
      : placeMatrix({ size: input, resized: grid, offset: 0, input: grid });
  return sigma > 0 ? multiply(gaussianMatrix(input, sigma, edges), enlarged) : enlarged;
}

function matrix(rows: number, columns: number): Matrix {
  return { data: new Float64Array(rows * columns), rows, columns };
}

function nearestMatrix(from: number, to: number): Matrix {
  const m = matrix(to, from);
  for (let i = 0; i < to; i++) m.data[i * from + Math.floor((i * from) / to)] = 1;
  return m;
}

function gaussianMatrix(size: number, sigma: number, edges: 'reflect' | 'mirror'): Matrix {
  const radius = Math.floor(4 * sigma + 0.5);
  const kernel = Array.from({ length: 2 * radius + 1 }, (_, i) => Math.exp(-((i - radius) ** 2) / (2 * sigma * sigma)));
  const sum = kernel.reduce((a, b) => a + b, 0);
  const m = matrix(size, size);
  for (let i = 0; i < size; i++)
    kernel.forEach((k, j) => (m.data[i * size + fold(i + j - radius, size, edges)] += k / sum));
  return m;
}

/** The pixel that stands in for position `i` outside of 0..size-1. */
function fold(i: number, size: number, edges: 'reflect' | 'mirror'): number {
  if (size === 1) return 0;
  const period = edges === 'reflect' ? 2 * size - 2 : 2 * size;
  const j = ((i % period) + period) % period;
  if (j < size) return j;
  return edges === 'reflect' ? period - j : period - 1 - j;
}

export function multiply(a: Matrix, b: Matrix): Matrix {
  const m = matrix(a.rows, b.columns);
  for (let i = 0; i < a.rows; i++)
    for (let k = 0; k < a.columns; k++) {
      const x = a.data[i * a.columns + k];
      if (x === 0) continue;
      for (let j = 0; j < b.columns; j++) m.data[i * b.columns + j] += x * b.data[k * b.columns + j];
    }
  return m;
}

export function transpose(a: Matrix): Matrix {
  const m = matrix(a.columns, a.rows);
  for (let i = 0; i < a.rows; i++)
    for (let j = 0; j < a.columns; j++) m.data[j * a.rows + i] = a.data[i * a.columns + j];
  return m;
}

/** Where one axis of the original picture, `size` pixels, lies in the network input. */
export interface Placement {
  size: number;
  /** length of the axis after the resize, and where the crop of `input` pixels starts in it */
  resized: number;
  offset: number;
  input: number;
}

/** Pixels `from` (inclusive) to `to` (exclusive) of the original are inspected; a centre crop leaves out those beside. */
export function inspected({ size, resized, offset, input }: Placement): { from: number; to: number } {
  const pixel = (x: number): number => Math.min(size, Math.max(0, Math.ceil(((x + offset) * size) / resized - 0.5)));
  return { from: pixel(0), to: pixel(input) };
}

/** A tile on one axis of its picture's map: from which pixel on, and how much it counts in each. */
export interface Band {
  placement: Placement;
  from: number;
  weights: Float32Array;
}

/**
 * Places the network input on the original picture along one axis, bilinearly; rows outside of the crop stay zero. With a band: only
 * its rows, each by its weight.
 */
export function placeMatrix(placement: Placement, band?: Band): Matrix {
  const { size, resized, offset, input } = placement;
  const first = band?.from ?? 0;
  const m = matrix(band?.weights.length ?? size, input);
  const { from, to } = inspected(placement);
  for (let i = from; i < to; i++) {
    const x = Math.min(Math.max(((i + 0.5) * resized) / size - offset - 0.5, 0), input - 1);
    const low = Math.floor(x);
    const weight = band?.weights[i - first] ?? 1;
    m.data[(i - first) * input + low] += weight * (1 - (x - low));
    m.data[(i - first) * input + Math.min(low + 1, input - 1)] += weight * (x - low);
  }
  return m;
}
