import { GraphBuilder } from './onnx/builder';
import type { Data, Runtime, Session } from './runtime';

/** Some rows of a row-major matrix; copied into `some`, where it is given. */
export function gatherRows(
  rows: Float32Array,
  indices: ArrayLike<number>,
  dimension: number,
  some: Float32Array = new Float32Array(indices.length * dimension)
): Float32Array {
  for (let i = 0; i < indices.length; i++)
    some.set(rows.subarray(indices[i] * dimension, (indices[i] + 1) * dimension), i * dimension);
  return some;
}

/** Squared length of each row, [N]. */
export function squaredLengths(rows: Float32Array, dimension: number): Float32Array {
  const lengths = new Float32Array(rows.length / dimension);
  for (let i = 0; i < lengths.length; i++) {
    let sum = 0;
    for (let k = i * dimension; k < (i + 1) * dimension; k++) sum += rows[k] * rows[k];
    lengths[i] = sum;
  }
  return lengths;
}

/** Index of the largest value, the first of equal ones. */
export function argmax(values: Float32Array): number {
  let top = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[top]) top = i;
  return top;
}

/** Rows and centers of one graph run: its [N, M] result stays small, however many there are. */
const TILE = { rows: 4096, centers: 1024 };

/** Squared Euclidean distances between two sets of vectors, both given when it runs. */
export class PairDistances {
  private constructor(
    private readonly smallest: Session,
    private readonly dimension: number
  ) {}

  static async create(runtime: Runtime, dimension: number): Promise<PairDistances> {
    return new PairDistances(await runtime.session(nearestGraph(dimension)), dimension);
  }

  /** Lowers `known`, [N], where the squared distance of a row to its nearest center is smaller. */
  async approach(rows: Float32Array, centers: Float32Array, known: Float32Array): Promise<void> {
    const d = this.dimension;
    for (let row = 0; row < known.length; row += TILE.rows) {
      const part = known.subarray(row, row + TILE.rows);
      const some = this.matrix(rows.subarray(row * d, (row + part.length) * d));
      for (let from = 0; from < centers.length; from += TILE.centers * d) {
        const near = this.matrix(centers.subarray(from, from + TILE.centers * d));
        const { nearest } = await this.smallest.run({
          rows: some,
          centers: near,
          known: { data: part, dims: [part.length] }
        });
        part.set(nearest.data);
      }
    }
  }

  async release(): Promise<void> {
    await this.smallest.release();
  }

  private matrix(data: Float32Array): Data {
    return { data, dims: [data.length / this.dimension, this.dimension] };
  }
}

function nearestGraph(dimension: number): Uint8Array {
  const g = new GraphBuilder();
  const rows = g.input('rows', 'float', ['N', dimension]);
  const centers = g.input('centers', 'float', ['M', dimension]);
  // ||c||^2 - 2 r c: what is missing to the squared distance is the same for the whole row
  const scaled = g.op('Mul', [g.op('Transpose', [centers], { perm: [1, 0] }), g.scalar(-2)]);
  const centerNorms = g.op('Unsqueeze', [g.op('ReduceSumSquare', [centers, g.ints(1)], { keepdims: 0 }), g.ints(0)]);
  const distance = g.op('Add', [g.op('MatMul', [rows, scaled]), centerNorms]);
  const norms = g.op('ReduceSumSquare', [rows, g.ints(1)], { keepdims: 0 });
  const nearest = g.op('Add', [g.op('ReduceMin', [distance, g.ints(1)], { keepdims: 0 }), norms]);
  const known = g.input('known', 'float', ['N']);
  g.output(g.op('Min', [known, g.op('Max', [nearest, g.scalar(0)])]), 'nearest', 'float', ['N']);
  return g.build();
}
