import { GoodpartsError } from './errors';
import { GraphBuilder } from './onnx/builder';
import type { Preset } from './presets';
import { randomStream } from './random';
import { argmax, gatherRows, PairDistances } from './pairs';
import type { Runtime } from './runtime';

export interface CoresetOptions {
  /** patches to keep */
  count: number;
  seed: number;
  projection: Preset['projection'];
  anchors: number;
  onProgress?: (done: number) => void;
  signal?: AbortSignal;
}

/** Distance of a chosen point: below every other, as it must never be chosen again, not even among copies of itself. */
const CHOSEN = -1;
/** Points for which all pairs are measured at once. */
const DENSE = 1536;
/** Share of the points, the farthest ones, among which the choice goes on before all are measured again. */
const SHARE = 1 / 16;

/**
 * Greedy k-center: starting from one patch, the patch farthest from all chosen ones is chosen next, in a random projection.
 * The choice is that of the plain one-by-one algorithm, made in blocks: as long as the farthest among some far-off candidates is
 * farther than every other patch was at the start of the block, it is the farthest of all. Candidates of candidates are chosen from
 * in the same way. So distances to all patches are computed by a MatMul for many chosen ones at once, and no N x N matrix is held.
 * @param parts patch embeddings, one [P, D] array an image
 * @returns indices of the chosen patches in the concatenation of all parts, in the order of choice
 * Source: Sener and Savarese (2018), alg. 1; Roth et al. (2022), alg. 1.
 */
export async function coreset(
  runtime: Runtime,
  parts: Float32Array[],
  dimensions: number,
  options: CoresetOptions
): Promise<Int32Array> {
  const total = parts.reduce((n, p) => n + p.length / dimensions, 0);
  const random = randomStream(options.seed);
  const points = await Points.project(
    runtime,
    parts,
    dimensions,
    projectedDimension(options.projection, total, dimensions),
    random
  );
  try {
    return await greedy(points, Math.min(options.count, total), random, options);
  } finally {
    await points.release();
  }
}

/** Johnson-Lindenstrauss with eps 0.9, as scikit-learn and anomalib compute it; never above the dimension that is there. */
function projectedDimension(projection: Preset['projection'], total: number, dimensions: number): number {
  const eps = 0.9;
  const wanted =
    projection === 'johnson-lindenstrauss'
      ? Math.floor((4 * Math.log(total)) / (eps ** 2 / 2 - eps ** 3 / 3))
      : projection;
  return Math.min(Math.max(1, wanted), dimensions);
}

async function greedy(
  points: Points,
  count: number,
  random: () => number,
  options: CoresetOptions
): Promise<Int32Array> {
  const chosen = new Int32Array(count);
  const pick = (): number => Math.floor(random() * points.count);
  /** squared distance of every point to the nearest chosen one */
  let distance: Float32Array;
  let done = 0;
  if (options.anchors) {
    distance = await points.meanDistance(Array.from({ length: options.anchors }, pick));
  } else {
    distance = new Float32Array(points.count).fill(Infinity);
    chosen[done++] = pick();
    await points.approach(distance, chosen.subarray(0, 1));
  }
  const rest = await choose(points, distance, count - done, -Infinity, options, done);
  chosen.set(rest, done);
  return chosen;
}

/**
 * The next greedy choices, until there are `most` or none is left at `floor` or farther. `distance` is brought up to date.
 * @returns indices into `points`, in the order of choice
 */
async function choose(
  points: Points,
  distance: Float32Array,
  most: number,
  floor: number,
  options?: CoresetOptions,
  before = 0
): Promise<Int32Array> {
  if (points.count <= DENSE) return chooseDense(await points.between(), distance, most, floor);
  const size = Math.max(DENSE, Math.ceil(points.count * SHARE));
  // one block of memory for all rounds: there may be thousands, and each would leave tens of megabytes to the garbage collector
  const room = new Float32Array(size * points.dimension);
  const chosen: number[] = [];
  while (chosen.length < most) {
    if (options?.signal?.aborted) throw new GoodpartsError('fit-aborted', 'The fit was stopped.');
    const candidates = farthest(distance, size);
    if (distance[candidates[0]] < floor) break;
    const others = distance[candidates[candidates.length - 1]];
    const current = Float32Array.from(candidates, i => distance[i]);
    const block = (
      await choose(points.subset(candidates, room), current, most - chosen.length, Math.max(floor, others))
    ).map(i => candidates[i]);
    await points.approach(distance, block);
    block.forEach(i => chosen.push(i));
    options?.onProgress?.(before + chosen.length);
  }
  return Int32Array.from(chosen);
}

/** `choose` with all pairs of points at hand, [T, T]. */
function chooseDense(between: Float32Array, distance: Float32Array, most: number, floor: number): Int32Array {
  const chosen: number[] = [];
  while (chosen.length < Math.min(most, distance.length)) {
    const top = argmax(distance);
    if (distance[top] < floor) break;
    chosen.push(top);
    const row = top * distance.length;
    for (let j = 0; j < distance.length; j++) distance[j] = Math.min(distance[j], between[row + j]);
    distance[top] = CHOSEN;
  }
  return Int32Array.from(chosen);
}

/** Indices of the `count` largest values, farthest first; ties by index, so that the same input gives the same order. */
function farthest(values: Float32Array, count: number): Int32Array {
  const limit = values.length <= count ? -Infinity : Float32Array.from(values).sort()[values.length - count];
  const indices: number[] = [];
  for (let i = 0; i < values.length; i++) if (values[i] >= limit) indices.push(i);
  indices.sort((a, b) => values[b] - values[a] || a - b);
  return Int32Array.from(indices.slice(0, count));
}

/** Projected patches, and the graph that measures them. */
class Points {
  private constructor(
    private readonly pairs: PairDistances,
    private readonly rows: Float32Array,
    readonly dimension: number
  ) {}

  get count(): number {
    return this.rows.length / this.dimension;
  }

  static async project(
    runtime: Runtime,
    parts: Float32Array[],
    from: number,
    to: number,
    random: () => number
  ): Promise<Points> {
    const total = parts.reduce((n, p) => n + p.length / from, 0);
    const rows = new Float32Array(total * to);
    const project = to < from ? await runtime.session(projectionGraph(from, to, random)) : undefined;
    let at = 0;
    for (const part of parts) {
      const projected = project
        ? (await project.run({ x: { data: part, dims: [part.length / from, from] } })).y.data
        : part;
      rows.set(projected, at);
      at += projected.length;
    }
    await project?.release();
    return new Points(await PairDistances.create(runtime, to), rows, to);
  }

  /** Some of the points, measured by the same graph; `room` holds them until the next call with the same room. */
  subset(indices: Int32Array, room: Float32Array): Points {
    return new Points(this.pairs, gatherRows(this.rows, indices, this.dimension, room), this.dimension);
  }

  /** Lowers the squared distance of every point to the nearest chosen one, where `chosen` ones are nearer. */
  async approach(distance: Float32Array, chosen: Int32Array): Promise<void> {
    await this.pairs.approach(this.rows, gatherRows(this.rows, chosen, this.dimension), distance);
    for (const i of chosen) distance[i] = CHOSEN;
  }

  /** Squared distances between all pairs of points, row-major. */
  between(): Promise<Float32Array> {
    return this.pairs.squared(this.rows, this.rows);
  }

  /** Square of the mean distance to some points, as patchcore-inspection starts. */
  async meanDistance(anchors: number[]): Promise<Float32Array> {
    const mean = new Float32Array(this.count);
    for (const anchor of anchors) {
      const one = new Float32Array(this.count).fill(Infinity);
      await this.approach(one, Int32Array.of(anchor));
      one.forEach((d, i) => (mean[i] += Math.sqrt(Math.max(d, 0)) / anchors.length));
    }
    return mean.map(d => d * d);
  }

  release(): Promise<void> {
    return this.pairs.release();
  }
}

/** Sparse random projection (Li, Hastie and Church 2006): density 1 / sqrt(D), entries +-sqrt(1 / density / d). */
function projectionGraph(from: number, to: number, random: () => number): Uint8Array {
  const density = 1 / Math.sqrt(from);
  const value = Math.sqrt(1 / density / to);
  const matrix = new Float32Array(from * to);
  for (let i = 0; i < matrix.length; i++) if (random() < density) matrix[i] = random() < 0.5 ? value : -value;
  const g = new GraphBuilder();
  g.output(g.op('MatMul', [g.input('x', 'float', ['N', from]), g.floats(matrix, [from, to])]), 'y', 'float', ['N', to]);
  return g.build();
}
