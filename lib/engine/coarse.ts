import { CoarseBank, coarseStep } from './graphs/filter';
import { Rotation, randomRotation, rotate } from './graphs/rotation';
import { GraphBuilder } from './onnx/builder';
import type { Runtime } from './runtime';

/** Largest level: 7 bits, as sums of two products of 8 overflow on processors without VNNI; so every processor finds the same. */
const LEVELS = 63;
/** Patches that the centre is taken from. */
const SAMPLE = 2048;
/** TensorProto.DataType */
const INT8 = 3;

/** A bank in 8-bit integers, and ||b - centre||^2 of its patches, [M]. */
export interface Coarse extends CoarseBank {
  norms: Float32Array;
}

/** The memory bank, [M, D], in 8-bit integers. */
export async function coarseBank(runtime: Runtime, bank: Float32Array, dimensions: number): Promise<Coarse> {
  const size = bank.length / dimensions;
  const rotation = randomRotation(centreOf(bank, dimensions));
  const session = await runtime.session(levelsGraph(rotation));
  const step = coarseStep(size);
  const blocks: Coarse['blocks'] = [];
  const norms = new Float32Array(size);
  try {
    for (let from = 0; from < size; from += step) {
      const rows = filledUp(bank.subarray(from * dimensions, (from + step) * dimensions), step * dimensions);
      const found = await session.run({ patches: { data: rows, dims: [step, dimensions] } });
      blocks.push({ levels: found.levels.data as unknown as Int8Array, scales: found.scales.data });
      norms.set(found.norms.data.subarray(0, size - from), from);
    }
  } finally {
    await session.release();
  }
  return { blocks, norms, size, dimensions, rotation };
}

/** With zeros at its end. */
function filledUp(values: Float32Array, length: number): Float32Array {
  if (values.length === length) return values;
  const filled = new Float32Array(length);
  filled.set(values);
  return filled;
}

/**
 * Input: `patches` float32 [m, D]. Outputs: `levels` int8 [D, m] and `scales` float32 [m], one a patch, such that its largest coordinate
 * has the largest level; `norms` float32 [m] = ||b - centre||^2, which the rotation leaves as it is. A graph, as a loop in JavaScript
 * takes three times as long.
 */
function levelsGraph(rotation: Rotation): Uint8Array {
  const dimensions = rotation.mean.length;
  const g = new GraphBuilder();
  const turned = rotate(g, g.input('patches', 'float', ['m', dimensions]), rotation);
  const largest = g.op('ReduceMax', [g.op('Abs', [turned]), g.ints(1)], { keepdims: 1 });
  // a patch that is the centre itself has no largest coordinate
  const scales = g.op('Div', [g.op('Max', [largest, g.scalar(1e-30)]), g.scalar(LEVELS)]);
  const levels = g.op('Cast', [g.op('Round', [g.op('Div', [turned, scales])])], { to: INT8 });
  g.output(g.op('Transpose', [levels], { perm: [1, 0] }), 'levels', 'int8', [dimensions, 'm']);
  g.output(g.op('Squeeze', [scales, g.ints(1)]), 'scales', 'float', ['m']);
  g.output(g.op('ReduceSumSquare', [turned, g.ints(1)], { keepdims: 0 }), 'norms', 'float', ['m']);
  return g.build();
}

/** Mean of patches from all over the bank: a centre that is about in the middle will do. */
function centreOf(bank: Float32Array, dimensions: number): Float32Array {
  const sums = new Float64Array(dimensions);
  const step = dimensions * Math.ceil(bank.length / dimensions / SAMPLE);
  for (let from = 0; from < bank.length; from += step) for (let d = 0; d < dimensions; d++) sums[d] += bank[from + d];
  return Float32Array.from(sums, sum => sum / Math.ceil(bank.length / step));
}
