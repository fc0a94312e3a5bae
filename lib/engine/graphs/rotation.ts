import type { GraphBuilder } from '../onnx/builder';
import { randomStream } from '../random';

/**
 * A change of coordinates that keeps all distances: the mean is taken away, the coordinates are shuffled, and each group of them is
 * turned by one random orthogonal matrix. Afterwards no coordinate stands out, so that 8 bits describe all of them well.
 */
export interface Rotation {
  /** [D] */
  mean: Float32Array;
  /** place that each coordinate comes from, [D] */
  order: number[];
  /** orthogonal, [n, n]; n divides D */
  matrix: Float32Array;
}

/** Coordinates that are turned together: enough to spread an outlier, few enough to cost nothing. */
const GROUP = 128;

export function randomRotation(mean: Float32Array): Rotation {
  const random = randomStream(1);
  const order = Array.from(mean.keys());
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  let n = Math.min(GROUP, mean.length);
  while (mean.length % n) n--;
  return { mean, order, matrix: orthogonal(n, random) };
}

/** Rotated coordinates of `x`, [N, D]. */
export function rotate(g: GraphBuilder, x: string, { mean, order, matrix }: Rotation): string {
  const n = Math.sqrt(matrix.length);
  const centred = g.op('Sub', [x, g.floats(mean, [mean.length])]);
  const shuffled = g.op('Gather', [centred, g.ints(...order)], { axis: 1 });
  const turned = g.op('MatMul', [g.op('Reshape', [shuffled, g.ints(-1, n)]), g.floats(matrix, [n, n])]);
  return g.op('Reshape', [turned, g.ints(-1, mean.length)]);
}

/** Gram-Schmidt on random directions. */
function orthogonal(n: number, random: () => number): Float32Array {
  const rows: Float64Array[] = [];
  for (let i = 0; i < n; i++) {
    const row = Float64Array.from({ length: n }, () => random() + random() + random() + random() - 2);
    for (const other of rows) {
      const along = dot(row, other);
      for (let k = 0; k < n; k++) row[k] -= along * other[k];
    }
    const length = Math.sqrt(dot(row, row));
    rows.push(row.map(x => x / length));
  }
  return Float32Array.from(rows.flatMap(row => [...row]));
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
  return sum;
}
