import { GraphBuilder } from './onnx/builder';
import type { Runtime, Session } from './runtime';

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

/** Squared Euclidean distances between two sets of vectors, both given when it runs. */
export class PairDistances {
  private constructor(
    private readonly session: Session,
    private readonly dimension: number
  ) {}

  static async create(runtime: Runtime, dimension: number): Promise<PairDistances> {
    return new PairDistances(await runtime.session(pairsGraph(dimension)), dimension);
  }

  /** All pairs, row-major [N, M]. */
  squared(rows: Float32Array, centers: Float32Array): Promise<Float32Array> {
    return this.run('squared', rows, centers, new Float32Array(rows.length / this.dimension));
  }

  /** For each row the squared distance to the nearest center, or `known` where that is smaller: [N]. */
  nearest(rows: Float32Array, centers: Float32Array, known: Float32Array): Promise<Float32Array> {
    return this.run('nearest', rows, centers, known);
  }

  release(): Promise<void> {
    return this.session.release();
  }

  private async run(
    output: 'squared' | 'nearest',
    rows: Float32Array,
    centers: Float32Array,
    known: Float32Array
  ): Promise<Float32Array> {
    const feeds = {
      rows: { data: rows, dims: [rows.length / this.dimension, this.dimension] },
      centers: { data: centers, dims: [centers.length / this.dimension, this.dimension] },
      known: { data: known, dims: [known.length] }
    };
    return (await this.session.run(feeds, [output]))[output].data;
  }
}

function pairsGraph(dimension: number): Uint8Array {
  const g = new GraphBuilder();
  const rows = g.input('rows', 'float', ['N', dimension]);
  const centers = g.input('centers', 'float', ['M', dimension]);
  const known = g.input('known', 'float', ['N']);
  const norms = g.op('ReduceSumSquare', [rows, g.ints(1)], { keepdims: 1 });
  const centerNorms = g.op('Unsqueeze', [g.op('ReduceSumSquare', [centers, g.ints(1)], { keepdims: 0 }), g.ints(0)]);
  const product = g.op('MatMul', [rows, g.op('Transpose', [centers], { perm: [1, 0] })]);
  const partial = g.op('Sub', [centerNorms, g.op('Add', [product, product])]);
  const squared = g.op('Max', [g.op('Add', [partial, norms]), g.scalar(0)]);
  g.output(squared, 'squared', 'float', ['N', 'M']);
  const nearest = g.op('Min', [known, g.op('ReduceMin', [squared, g.ints(1)], { keepdims: 0 })]);
  g.output(nearest, 'nearest', 'float', ['N']);
  return g.build();
}
