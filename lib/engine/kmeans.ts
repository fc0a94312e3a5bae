import { GoodpartsError } from './errors';
import { gatherRows, squaredLengths } from './pairs';
import type { Data, Session } from './runtime';

/** k-means: patches a center that it is computed from, and its rounds. */
const SAMPLE = 48;
const ROUNDS = 4;
/** Patches of one run when all are put into cells. */
const TILE = 2048;
export interface BuildOptions {
  signal?: AbortSignal;
  /** called with the patches put into cells so far, and all */
  onProgress?: (done: number, total: number) => void;
}

/** Inputs of `nearestRowsGraph`. */
export function feeds(queries: Float32Array, rows: Float32Array, norms: Float32Array): Record<string, Data> {
  const dimensions = rows.length / norms.length;
  return {
    queries: { data: queries, dims: [queries.length / dimensions, dimensions] },
    rows: { data: rows, dims: [norms.length, dimensions] },
    norms: { data: norms, dims: [norms.length] }
  };
}

/** The nearest center of each bank patch, int32 [M]. */
export async function assign(
  nearest: Session,
  rows: Float32Array,
  centers: Float32Array,
  dimensions: number,
  { signal, onProgress }: BuildOptions
): Promise<Int32Array> {
  const cellOf = new Int32Array(rows.length / dimensions);
  const norms = squaredLengths(centers, dimensions);
  for (let from = 0; from < cellOf.length; from += TILE) {
    if (signal?.aborted) throw new GoodpartsError('fit-aborted', 'The fit was stopped.');
    const tile = rows.subarray(from * dimensions, (from + TILE) * dimensions);
    cellOf.set((await nearest.run(feeds(tile, centers, norms))).indices.data, from);
    onProgress?.(Math.min(from + TILE, cellOf.length), cellOf.length);
  }
  return cellOf;
}

/** k-means (Lloyd 1982) on an evenly spread part of the bank; centers [count, D]. An empty cell keeps its center. */
export async function kMeans(
  nearest: Session,
  bank: Float32Array,
  dimensions: number,
  count: number,
  { signal }: BuildOptions
): Promise<Float32Array> {
  const spread = (from: Float32Array, wanted: number): Float32Array => {
    const size = from.length / dimensions;
    const some = Int32Array.from({ length: Math.min(size, wanted) }, (_, i) => Math.floor((i * size) / wanted));
    return size <= wanted ? from : gatherRows(from, some, dimensions);
  };
  const sample = spread(bank, SAMPLE * count);
  const centers = spread(sample, count).slice();
  for (let round = 0; round < ROUNDS; round++) {
    const cellOf = await assign(nearest, sample, centers, dimensions, { signal });
    const sums = new Float64Array(centers.length);
    const members = new Int32Array(count);
    cellOf.forEach((cell, i) => {
      members[cell]++;
      for (let d = 0; d < dimensions; d++) sums[cell * dimensions + d] += sample[i * dimensions + d];
    });
    sums.forEach((sum, i) => {
      const of = members[Math.floor(i / dimensions)];
      if (of) centers[i] = sum / of;
    });
  }
  return centers;
}
