import { GoodpartsError } from './errors';
import { Farthest } from './farthest';
import { Minima } from './minima';
import { argmax } from './pairs';
import { Points } from './points';
import { randomStream } from './random';
import type { Runtime } from './runtime';
import { SquaredDistance } from './squared';
import type { RowFile } from './workfile';

export interface CoresetOptions {
  /** patches to keep */
  count: number;
  seed: number;
  /** one random patch is taken first (0), or distances start as the mean to this many random patches */
  anchors: number;
  onProgress?: (done: number) => void;
  signal?: AbortSignal;
}

export interface Coreset {
  /** positions of the chosen patches in the file, in the order of choice */
  chosen: Int32Array;
  /** covering radius: no patch is farther from its nearest chosen one (it may be less by the last choice) */
  radius: number;
  /** still open, for whoever goes on with them */
  points: Points;
}

/** Distance of a chosen point: below every other, as it must never be chosen again, not even among copies of itself. */
const CHOSEN = -1;
/** Points among which choices are made at a time. */
const CANDIDATES = 1024;
/** Points whose distances are brought up to date together; and rows and centers of one run. */
const STALE = 4096;
const TILE = { rows: 256, centers: 2048 };

/**
 * Greedy k-center: starting from one patch, the patch farthest from all chosen ones is chosen next. The choice is that of the plain
 * one-by-one algorithm in the full space; it is found with much less work:
 * - A distance can only fall. So a patch whose distance was small once is not looked at again until it is among the farthest
 *   (measured: a quarter of the distances remain).
 * - Most of these are ruled out by the distance of short stand-ins (see Shadow); what is left is measured in full.
 * - Choices are made among some far-off candidates, as long as the farthest of these is farther than every other patch can be.
 * Source: Sener and Savarese (2018), alg. 1; Roth et al. (2022), alg. 1; anchors: patchcore-inspection.
 */
export async function coreset(runtime: Runtime, file: RowFile, options: CoresetOptions): Promise<Coreset> {
  const random = randomStream(options.seed);
  const pick = (): number => Math.floor(random() * file.count);
  const starts = Array.from({ length: Math.max(1, options.anchors) }, pick);
  const started = new StartDistances(await file.gather(starts), file);
  const points = await Points.open(runtime, file, options.seed, (rows, at) => started.visit(rows, at));
  const count = Math.min(options.count, file.count);
  try {
    const greedy = new Greedy(points, started.distance, count);
    if (count === file.count) for (let i = 0; i < count; i++) greedy.take(i);
    else await greedy.run(options, starts[0]);
    return { chosen: greedy.chosen, radius: greedy.radius, points };
  } catch (error) {
    await points.release();
    throw error;
  }
}

/** Square of the mean distance of every row to some starting ones. */
class StartDistances {
  readonly distance: Float32Array;
  private readonly squared: SquaredDistance;

  constructor(
    private readonly starts: Float32Array,
    private readonly file: RowFile
  ) {
    this.distance = new Float32Array(file.count);
    this.squared = new SquaredDistance(file.dimensions);
  }

  visit(rows: Float32Array, at: number): void {
    const d = this.file.dimensions;
    const starts = this.starts.length / d;
    for (let i = 0; i < rows.length / d; i++) {
      let mean = 0;
      this.squared.from(rows.subarray(i * d, (i + 1) * d));
      for (let s = 0; s < starts; s++)
        mean += Math.sqrt(this.squared.to(this.starts.subarray(s * d, (s + 1) * d), Infinity)) / starts;
      this.distance[at + i] = mean * mean;
    }
  }
}

class Greedy {
  readonly chosen: Int32Array;
  radius = 0;
  private done = 0;
  /** shadows of the chosen ones and their squared lengths, in order */
  private readonly centers: Float32Array;
  private readonly norms: Float32Array;
  /** how many of the chosen ones each point's distance knows */
  private readonly seen: Int32Array;
  private readonly farthest = new Farthest();

  /** @param distance of every point, squared: never below the true one */
  constructor(
    private readonly points: Points,
    private readonly distance: Float32Array,
    count: number
  ) {
    this.chosen = new Int32Array(count);
    this.centers = new Float32Array(count * points.shadow.size);
    this.norms = new Float32Array(count);
    // the distances at the start are those to the first point
    this.seen = new Int32Array(points.count).fill(1);
  }

  /** Chooses a point. */
  take(index: number): void {
    const { size } = this.points.shadow;
    this.centers.set(this.points.shadows.subarray(index * size, (index + 1) * size), this.done * size);
    this.norms[this.done] = this.points.norms[index];
    this.chosen[this.done++] = index;
    this.distance[index] = CHOSEN;
  }

  async run({ anchors, signal, onProgress }: CoresetOptions, start: number): Promise<void> {
    if (anchors) this.seen.fill(0);
    else this.take(start);
    while (this.done < this.chosen.length) {
      // the signal's event has to get through
      await new Promise(resolve => setImmediate(resolve));
      if (signal?.aborted) throw new GoodpartsError('fit-aborted', 'The fit was stopped.');
      const far = this.farthest.of(this.distance, STALE).indices;
      await this.refresh(far.filter(i => this.seen[i] < this.done));
      await this.chooseSome();
      onProgress?.(this.done);
    }
  }

  /** Choices among the farthest points that are up to date, while nothing else can be farther. */
  private async chooseSome(): Promise<void> {
    const { indices, next } = this.farthest.of(this.distance, CANDIDATES);
    const candidates = indices.filter(i => this.seen[i] === this.done);
    const floor = indices.reduce((max, i) => (this.seen[i] < this.done ? Math.max(max, this.distance[i]) : max), next);
    if (!candidates.some(i => this.distance[i] >= floor)) return;
    const { points } = this;
    const shadows = points.shadowsOf(candidates);
    const norms = Float32Array.from(candidates, i => points.norms[i]);
    const bounds = await points.shadow.relativeBounds(shadows, shadows, norms);
    await points.cache.hold([candidates]);
    const current = Float32Array.from(candidates, i => this.distance[i]);
    while (this.done < this.chosen.length) {
      const top = argmax(current);
      if (current[top] < Math.max(floor, 0)) break;
      this.radius = Math.sqrt(current[top]);
      this.take(candidates[top]);
      current[top] = CHOSEN;
      const row = top * candidates.length;
      const known = norms[top] - points.slack;
      for (let j = 0; j < current.length; j++)
        if (bounds[row + j] + known < current[j])
          current[j] = Math.min(current[j], points.cache.squared(candidates[top], candidates[j], current[j]));
    }
    candidates.forEach((point, j) => {
      this.distance[point] = current[j];
      this.seen[point] = this.done;
    });
  }

  /** Brings distances up to date with all chosen ones. */
  private async refresh(stale: Int32Array): Promise<void> {
    stale.sort((a, b) => this.seen[a] - this.seen[b] || a - b);
    for (let at = 0; at < stale.length; at += TILE.rows) {
      const rows = stale.subarray(at, at + TILE.rows);
      const shadows = this.points.shadowsOf(rows);
      for (let from = this.seen[rows[0]]; from < this.done; from += TILE.centers)
        await this.approach(rows, shadows, from, Math.min(this.done, from + TILE.centers));
      for (const i of rows) this.seen[i] = this.done;
    }
  }

  /** Lowers the distances of rows by the chosen ones `from`..`to`: first by the one that looks nearest, then by all that still may be nearer. */
  private async approach(rows: Int32Array, shadows: Float32Array, from: number, to: number): Promise<void> {
    const { points, distance } = this;
    const { size } = points.shadow;
    const width = to - from;
    const norms = this.norms.subarray(from, to);
    const bounds = await points.shadow.relativeBounds(shadows, this.centers.subarray(from * size, to * size), norms);
    const may = (i: number, bound: number): boolean => bound + points.norms[rows[i]] - points.slack < distance[rows[i]];
    const pairs: number[] = [];
    const blocks = new Minima(bounds, width);
    for (let i = 0; i < rows.length; i++) {
      const best = blocks.smallest(i);
      if (may(i, bounds[i * width + best])) pairs.push(i * width + best);
    }
    await this.measure(rows, pairs, from, width);
    const more: number[] = [];
    for (const pair of pairs) {
      const i = Math.floor(pair / width);
      const limit = distance[rows[i]] - points.norms[rows[i]] + points.slack;
      blocks.below(i, limit, j => i * width + j !== pair && more.push(i * width + j));
    }
    await this.measure(rows, more, from, width);
  }

  /** Lowers the distances of rows by those to chosen ones. @param pairs row * width + center */
  private async measure(rows: Int32Array, pairs: number[], from: number, width: number): Promise<void> {
    const { cache } = this.points;
    const centers = this.chosen.subarray(from, from + width);
    const step = Math.max(1, Math.floor(cache.capacity / 2));
    for (let at = 0; at < pairs.length; at += step) {
      const some = Int32Array.from(pairs.slice(at, at + step));
      const points = some.map(pair => rows[Math.floor(pair / width)]);
      const others = some.map(pair => centers[pair % width]);
      await cache.hold([points, others]);
      for (let k = 0; k < some.length; k++) {
        const found = cache.squared(points[k], others[k], this.distance[points[k]]);
        if (found < this.distance[points[k]]) this.distance[points[k]] = found;
      }
    }
  }
}
