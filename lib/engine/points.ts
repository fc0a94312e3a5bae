import { gatherRows, squaredLengths } from './pairs';
import { free } from './free';
import { Room } from './room';
import { RowCache } from './rowcache';
import type { Runtime } from './runtime';
import { Shadow } from './shadow';
import type { RowFile } from './workfile';

/** Vectors from which the directions of the shadows are taken. */
const SAMPLE = 4096;
/** Bytes that are read at a time. */
const CHUNK = 2 ** 23;
/** What float32 may lose in a bound, as a share of the largest squared length. */
const ROUNDING = 2e-5;

/** What a point costs in memory beside its shadow, bytes: its norm, distance, counter, place in the cache and image. */
const EXTRA = 24;

/** Bytes of memory for each patch that a fit holds in its file. */
export function bytesPerPoint(dimensions: number): number {
  return 4 * Shadow.sizeFor(dimensions) + EXTRA;
}

/** The rows of a file with their shadows: most comparisons need no look into the file. */
export class Points {
  readonly cache: RowCache;
  readonly norms: Float32Array;
  readonly slack: number;

  private readonly some = new Room();

  private constructor(
    readonly file: RowFile,
    readonly shadow: Shadow,
    readonly shadows: Float32Array
  ) {
    this.cache = new RowCache(file);
    this.norms = squaredLengths(this.shadows, shadow.size);
    this.slack = slackOf(this.norms);
  }

  get count(): number {
    return this.norms.length;
  }

  /** @param visit called with the vectors [n, D] from row `at` on, as they pass by */
  static async open(
    runtime: Runtime,
    file: RowFile,
    seed: number,
    visit: (rows: Float32Array, at: number) => void = () => undefined
  ): Promise<Points> {
    const step = Math.max(1, Math.floor(file.count / SAMPLE));
    const sampled = Int32Array.from({ length: Math.min(SAMPLE, file.count) }, (_, i) => i * step);
    const shadow = await Shadow.create(runtime, await file.gather(sampled), file.dimensions, seed);
    const shadows = new Float32Array(file.count * shadow.size);
    const rows = Math.max(1, Math.floor(CHUNK / file.dimensions / 4));
    const room = new Float32Array(Math.min(rows, file.count) * file.dimensions);
    for (let at = 0; at < file.count; at += rows) {
      const count = Math.min(rows, file.count - at);
      const some = (await file.read(at, count, room)).subarray(0, count * file.dimensions);
      shadows.set(await shadow.of(some), at * shadow.size);
      visit(some, at);
    }
    return new Points(file, shadow, shadows);
  }

  /** Shadows of some points, [n, size], in memory that the next call uses again. */
  shadowsOf(indices: ArrayLike<number>): Float32Array {
    const { size } = this.shadow;
    return gatherRows(this.shadows, indices, size, this.some.of(indices.length * size));
  }

  /** Frees the memory at once: the garbage collector would wait until more is asked for. */
  forget(): void {
    this.cache.forget();
    free(this.shadows);
  }

  async release(): Promise<void> {
    this.forget();
    await this.shadow.release();
  }
}

/** How far below the true value a computed bound may lie on the wrong side. */
export function slackOf(norms: Float32Array): number {
  return ROUNDING * norms.reduce((a, b) => Math.max(a, b), 0);
}
