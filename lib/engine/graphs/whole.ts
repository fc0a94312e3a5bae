// What a detector in a single graph needs beside the graphs of its stages: here TypeScript works it out for each picture.
import { GraphBuilder } from '../onnx/builder';
import { Matrix, spread, transpose } from './map';
import type { Size } from '../taps';

/**
 * Where the inspected window lies, as `windowOf` has it. Input: `image` uint8 [H, W, 3]. Outputs, int64 [2] each: `original` = H, W;
 * `size` = resized height and width; `start` = top and left of the crop.
 * @param input what the network is given, pixels
 * @param resizeShorter 0 resizes straight to the input
 */
export function windowGraph(input: Size, resizeShorter: number): Uint8Array {
  const g = new GraphBuilder();
  const image = g.input('image', 'uint8', ['H', 'W', 3]);
  const original = g.op('Shape', [image], { start: 0, end: 2 });
  g.output(original, 'original', 'int64', [2]);
  const window = g.ints(input.height, input.width);
  const size = resizeShorter ? shorterTo(g, original, resizeShorter) : window;
  g.output(size, 'size', 'int64', [2]);
  const halves = g.op('Div', [toDouble(g, g.op('Sub', [size, window])), g.double(2)]);
  g.output(toInt(g, g.op('Round', [halves])), 'start', 'int64', [2]);
  return g.build();
}

/** The shorter side becomes `length`, the longer one is cut to whole pixels. */
function shorterTo(g: GraphBuilder, original: string, length: number): string {
  const sides = toDouble(g, original);
  const scale = g.op('Div', [g.double(length), g.op('ReduceMin', [sides], { keepdims: 0 })]);
  // the product may fall short of the shorter side's length by a rounding error
  return g.op('Max', [toInt(g, g.op('Mul', [sides, scale])), g.ints(length)]);
}

export interface Placing {
  grid: { rows: number; columns: number };
  /** patch grid to network input, [input height, rows] and [input width, columns] */
  down: Matrix;
  across: Matrix;
  /** whether something lies beside the window */
  cropped: boolean;
}

/**
 * Patch distances to the map in the original picture's geometry, and the verdict. Inputs: `distances` float32 [P]; `score` and `threshold`
 * float32 [1]; `original`, `size`, `start` of `windowGraph`. Outputs: `map` float32 [H, W], NaN beside the window; `anomalous` bool [1].
 */
export function verdictGraph({ grid, down, across, cropped }: Placing): Uint8Array {
  const g = new GraphBuilder();
  const distances = g.input('distances', 'float', ['P']);
  const [original, size, start] = ['original', 'size', 'start'].map(name => g.input(name, 'int64', [2]));
  const constant = ({ data, rows, columns }: Matrix): string => g.floats(Float32Array.from(data), [rows, columns]);
  const cells = g.op('Reshape', [distances, g.ints(grid.rows, grid.columns)]);
  const inInput = spread(g, cells, constant(down), constant(transpose(across)));
  const toOriginal = (map: string): string =>
    g.op('Resize', [map, '', '', original], { mode: 'linear', coordinate_transformation_mode: 'half_pixel' });
  const placed = (window: string): string =>
    blankOutside(g, toOriginal(inWindow(g, inInput, size, start, window)), { original, size, start, window });
  g.output(cropped ? placed(g.ints(down.rows, across.rows)) : toOriginal(inInput), 'map', 'float', ['H', 'W']);
  const above = g.op('Greater', [g.input('score', 'float', [1]), g.input('threshold', 'float', [1])]);
  g.output(above, 'anomalous', 'bool', [1]);
  return g.build();
}

/** The window's map continued at its edges to the whole resized picture. */
function inWindow(g: GraphBuilder, map: string, size: string, start: string, window: string): string {
  const after = g.op('Sub', [size, g.op('Add', [start, window])]);
  return g.op('Pad', [map, g.op('Concat', [start, after], { axis: 0 })], { mode: 'edge' });
}

/** NaN for every pixel whose middle lies outside of the window; see `inspected`. */
function blankOutside(
  g: GraphBuilder,
  map: string,
  { original, size, start, window }: Record<'original' | 'size' | 'start' | 'window', string>
): string {
  const edge = (resized: string): string => {
    const at = g.op('Div', [g.op('Mul', [toDouble(g, resized), toDouble(g, original)]), toDouble(g, size)]);
    return toInt(g, g.op('Ceil', [g.op('Sub', [at, g.double(0.5)])]));
  };
  const [from, to] = [edge(start), edge(g.op('Add', [start, window]))];
  const inside = [0, 1].map(axis => {
    const of = (pair: string): string => g.op('Squeeze', [g.op('Gather', [pair, g.ints(axis)]), g.ints(0)]);
    const zero = g.op('Squeeze', [g.ints(0), g.ints(0)]);
    const one = g.op('Squeeze', [g.ints(1), g.ints(0)]);
    const at = g.op('Range', [zero, of(original), one]);
    const kept = g.op('And', [g.op('GreaterOrEqual', [at, of(from)]), g.op('Less', [at, of(to)])]);
    return g.op('Unsqueeze', [kept, g.ints(1 - axis)]);
  });
  return g.op('Where', [g.op('And', inside), map, g.scalar(NaN)]);
}

const toDouble = (g: GraphBuilder, x: string): string => g.op('Cast', [x], { to: 11 });
const toInt = (g: GraphBuilder, x: string): string => g.op('Cast', [x], { to: 7 });
