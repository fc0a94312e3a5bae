import type { CoarseBank } from './graphs/filter';
import { randomRotation, rotate } from './graphs/rotation';
import { GraphBuilder } from './onnx/builder';
import type { Runtime } from './runtime';

/** Largest level: 7 bits, as sums of two products of 8 overflow on processors without VNNI; so every processor finds the same. */
const LEVELS = 63;
/** Patches that are rotated at once. */
const ROWS = 4096;

/** The memory bank, [M, D], in 8-bit integers. */
export async function coarseBank(runtime: Runtime, bank: Float32Array, mean: Float32Array): Promise<CoarseBank> {
  const dimensions = mean.length;
  const rotation = randomRotation(mean);
  const g = new GraphBuilder();
  const x = g.input('x', 'float', ['N', dimensions]);
  g.output(rotate(g, x, rotation), 'y', 'float', ['N', dimensions]);
  const session = await runtime.session(g.build());
  const levels = new Int8Array(bank.length);
  const scales = new Float32Array(bank.length / dimensions);
  try {
    for (let from = 0; from < scales.length; from += ROWS) {
      const rows = bank.subarray(from * dimensions, (from + ROWS) * dimensions);
      const { y } = await session.run({ x: { data: rows, dims: [rows.length / dimensions, dimensions] } });
      quantise(y.data, levels.subarray(from * dimensions), scales.subarray(from, from + ROWS), dimensions);
    }
  } finally {
    await session.release();
  }
  return { levels, scales, rotation };
}

/** One scale a row, such that its largest number has the largest level. */
function quantise(rows: Float32Array, levels: Int8Array, scales: Float32Array, dimensions: number): void {
  for (let i = 0; i < scales.length; i++) {
    let largest = 0;
    const [from, to] = [i * dimensions, (i + 1) * dimensions];
    for (let k = from; k < to; k++) largest = Math.max(largest, Math.abs(rows[k]));
    scales[i] = (largest || 1) / LEVELS;
    for (let k = from; k < to; k++) levels[k] = Math.round(rows[k] / scales[i]);
  }
}
