import { GraphBuilder } from './onnx/builder';
import { randomStream } from './random';
import type { Runtime, Session } from './runtime';

/** Directions of a shadow, and of one of long vectors; more make the bound tighter and each comparison dearer. */
const DIRECTIONS = { usual: 127, long: 255 };
/** Length from which on vectors are long: for 1536 numbers 255 directions are a third faster, for 384 slower. */
const LONG = 768;
const directionsFor = (dimensions: number): number => (dimensions < LONG ? DIRECTIONS.usual : DIRECTIONS.long);
/** Rounds of subspace iteration: the bound holds for any orthonormal directions, so they need not be exact. (Four save 2 % of the exact distances.) */
const ROUNDS = 2;

/**
 * Short stand-ins of long vectors: their coordinates along the main directions of a sample (principal components), and the length of
 * what is left over. The distance of two shadows is never larger than that of the vectors themselves: with Q orthonormal,
 * ||x - y||^2 = ||Qx - Qy||^2 + ||x' - y'||^2 >= ||Qx - Qy||^2 + (||x'|| - ||y'||)^2. So most pairs are ruled out at a tenth of the cost.
 */
export class Shadow {
  private constructor(
    private readonly session: Session | undefined,
    private readonly comparison: Session,
    private readonly dimensions: number,
    /** numbers of one shadow */
    readonly size: number
  ) {}

  /** Numbers of one shadow of a vector. */
  static sizeFor(dimensions: number): number {
    return Math.min(dimensions, 1 + directionsFor(dimensions));
  }

  /** @param sample vectors whose directions count, [S, D] */
  static async create(runtime: Runtime, sample: Float32Array, dimensions: number, seed: number): Promise<Shadow> {
    const size = Shadow.sizeFor(dimensions);
    const session =
      size < dimensions
        ? await runtime.session(shadowGraph(await mainDirections(runtime, sample, dimensions, seed), dimensions))
        : undefined;
    return new Shadow(session, await runtime.session(boundsGraph(size)), dimensions, size);
  }

  /** Shadows of vectors, [N, D] to [N, size]. */
  async of(rows: Float32Array): Promise<Float32Array> {
    if (!this.session) return rows;
    const { shadows } = await this.session.run({
      x: { data: rows, dims: [rows.length / this.dimensions, this.dimensions] }
    });
    return shadows.data;
  }

  /**
   * ||c||^2 - 2 r c of shadows, [N, M], row-major: with ||r||^2 of the row, a bound below the squared distance.
   */
  async relativeBounds(rows: Float32Array, centers: Float32Array, norms: Float32Array): Promise<Float32Array> {
    const { size } = this;
    const { bounds } = await this.comparison.run({
      rows: { data: rows, dims: [rows.length / size, size] },
      centers: { data: centers, dims: [norms.length, size] },
      norms: { data: norms, dims: [norms.length] }
    });
    return bounds.data;
  }

  async release(): Promise<void> {
    await Promise.all([this.session?.release(), this.comparison.release()]);
  }
}

function boundsGraph(size: number): Uint8Array {
  const g = new GraphBuilder();
  const centers = g.input('centers', 'float', ['M', size]);
  const doubled = g.op('Mul', [g.input('rows', 'float', ['N', size]), g.scalar(-2)]);
  const norms = g.input('norms', 'float', ['M']);
  g.output(g.op('Gemm', [doubled, centers, norms], { transB: 1 }), 'bounds', 'float', ['N', 'M']);
  return g.build();
}

function shadowGraph(directions: Float32Array, dimensions: number): Uint8Array {
  const g = new GraphBuilder();
  const count = directions.length / dimensions;
  const x = g.input('x', 'float', ['N', dimensions]);
  const along = g.op('MatMul', [x, g.floats(directions, [dimensions, count])]);
  const squares = (a: string): string => g.op('ReduceSumSquare', [a, g.ints(1)], { keepdims: 1 });
  const rest = g.op('Sqrt', [g.op('Max', [g.op('Sub', [squares(x), squares(along)]), g.scalar(0)])]);
  g.output(g.op('Concat', [along, rest], { axis: 1 }), 'shadows', 'float', ['N', count + 1]);
  return g.build();
}

/** Orthonormal main directions of a sample, [D, count], by subspace iteration on X^T X (Halko, Martinsson and Tropp 2011). */
async function mainDirections(
  runtime: Runtime,
  sample: Float32Array,
  dimensions: number,
  seed: number
): Promise<Float32Array> {
  const g = new GraphBuilder();
  const count = directionsFor(dimensions);
  const x = g.input('x', 'float', ['S', dimensions]);
  const q = g.input('q', 'float', [dimensions, count]);
  const mean = g.op('ReduceMean', [x, g.ints(0)], { keepdims: 1 });
  const centred = g.op('Sub', [x, mean]);
  const next = g.op('MatMul', [g.op('Transpose', [centred], { perm: [1, 0] }), g.op('MatMul', [centred, q])]);
  g.output(next, 'next', 'float', [dimensions, count]);
  const session = await runtime.session(g.build());
  const random = randomStream(seed);
  let directions: Float32Array = Float32Array.from({ length: dimensions * count }, () => random() - 0.5);
  const data = { data: sample, dims: [sample.length / dimensions, dimensions] };
  for (let round = 1; round <= ROUNDS; round++) {
    const found = await session.run({ x: data, q: { data: directions, dims: [dimensions, count] } });
    // the digits count only in the end
    directions = orthonormal(found.next.data, count, round < ROUNDS ? 1 : 2);
  }
  await session.release();
  return directions;
}

/** Makes the columns of [D, count] orthonormal (Gram-Schmidt, in two passes to the last digits); one without length becomes zero. */
function orthonormal(matrix: Float32Array, count: number, passes: number): Float32Array {
  const length = matrix.length / count;
  const columns = Array.from({ length: count }, (_, c) =>
    Float64Array.from({ length }, (_, i) => matrix[i * count + c])
  );
  for (const [c, column] of columns.entries()) {
    const before = Math.sqrt(dot(column, column));
    for (let pass = 0; pass < passes; pass++)
      for (const other of columns.slice(0, c)) {
        const along = dot(column, other);
        for (let i = 0; i < length; i++) column[i] -= along * other[i];
      }
    const norm = Math.sqrt(dot(column, column));
    const scale = norm > 1e-9 * before ? 1 / norm : 0;
    for (let i = 0; i < length; i++) column[i] *= scale;
  }
  return Float32Array.from(matrix, (_, i) => columns[i % count][Math.floor(i / count)]);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
