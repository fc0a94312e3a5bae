import type { Bank } from './calibrate';
import { coreset } from './coreset';
import { Minima } from './minima';
import { pays } from './neighbours';
import { squaredLengths } from './pairs';
import { bytesPerPoint, type Points, slackOf } from './points';
import { randomStream } from './random';
import type { Runtime } from './runtime';
import { calibrationImages, Sample } from './sample';
import type { Shadow } from './shadow';
import { SquaredDistance } from './squared';
import { RowFile } from './workfile';

/** Memory of a process that has sent a picture through a small network, bytes. */
const STARTED = 190 * 2 ** 20;
/** Share of what a large network needs beyond that which the fit uses again, once all pictures went through. */
const AGAIN = 0.3;
/** Rows of the file at hand, at most, and tiles, bytes. */
const ROWS = 64 * 2 ** 20;
const TILES = 38 * 2 ** 20;
/** What a patch costs beyond the memory limit's account, measured: the counter's growth, what waits for the garbage collector. */
const WASTE = 150;
/** Patches that stay after a reduction, at the least, and for each patch of the bank. */
const KEPT = { least: 32768, perBankPatch: 4 };
/** Patches of a new image are compared with this many kept ones at a time. */
const BLOCK = 4096;

export interface PoolOptions {
  folder: string;
  dimensions: number;
  /** that come at a time: of an image, or of a tile of it */
  patchesPerTile: number;
  /** those that decide on how many images a detector is calibrated: what two backbones see of the same images has to be of the same ones */
  sampleSize?: number;
  /** upper bound of the bank; 0: none */
  bankSize: number;
  /** MB of memory for what is known of each patch */
  memoryLimit: number;
  seed: number;
  signal?: AbortSignal;
}

/** How many patches a fit holds: all up to `most`; then it goes on with `kept`, and holds no more than `room`. */
export function poolSize({ memoryLimit, dimensions, patchesPerTile, bankSize }: Omit<PoolOptions, 'folder' | 'seed'>) {
  const most = Math.max(4 * patchesPerTile, Math.floor((memoryLimit * 2 ** 20) / bytesPerPoint(dimensions)));
  const wanted = Math.max(KEPT.least, KEPT.perBankPatch * bankSize);
  const kept = Math.max(patchesPerTile, Math.min(wanted, most >> 1));
  return { most, kept, room: Math.min(most, 2 * kept + patchesPerTile) };
}

export interface FitSize {
  /** default: as many as there may be */
  images?: number;
  /** with those of its copies */
  patchesPerImage: number;
  /** where an image comes in tiles; default: all of it at once */
  patchesPerTile?: number;
  dimensions: number;
  /** upper bound of the bank; 0: none */
  bankSize: number;
  /** share of the patches that make the bank; default 0.1 */
  coresetRatio?: number;
  /** MB; default 256 */
  memoryLimit?: number;
}

/** Patches of the bank that a fit will choose. */
export function bankPatches({ images = Infinity, memoryLimit = 256, coresetRatio = 0.1, ...size }: FitSize): number {
  const { most, room } = poolSize({ patchesPerTile: size.patchesPerImage, ...size, memoryLimit });
  const patches = images * size.patchesPerImage;
  return Math.min(
    size.bankSize || Infinity,
    Math.max(1, Math.floor(patches * coresetRatio)),
    patches > most ? room : patches
  );
}

/**
 * What a fit will need at its peak, bytes: memory does not grow with the images once the memory limit is reached.
 * @param banks one; with a second backbone, two
 * @param base bytes that the process has, its networks loaded and tried; default: those of a small network
 */
export function fitMemory(banks: FitSize[], base = STARTED): { memory: number; disk: number } {
  const needs = banks.map(bankMemory);
  const sum = (of: (need: (typeof needs)[number]) => number): number =>
    needs.reduce((total, need) => total + of(need), 0);
  const network = base - AGAIN * Math.max(0, base - STARTED);
  // banks are chosen one after the other; only beyond the limit something is known of the patches of all of them at once
  const points = needs.some(need => need.beyond)
    ? sum(need => need.points)
    : Math.max(...needs.map(need => need.points));
  return { memory: network + TILES + points + sum(need => need.banks), disk: sum(need => need.disk) };
}

/** Bytes of one bank: while it is chosen, afterwards, and on the disk. */
function bankMemory(size: FitSize) {
  const { patchesPerImage, dimensions, memoryLimit = 256, images = Infinity } = size;
  const { most } = poolSize({ patchesPerTile: patchesPerImage, ...size, memoryLimit });
  const row = 4 * dimensions;
  const beyond = images * patchesPerImage > most;
  const held = Math.min(images * patchesPerImage, most);
  const bank = bankPatches(size);
  const sample = beyond ? calibrationImages(patchesPerImage) * patchesPerImage : 0;
  return {
    beyond,
    points: held * (bytesPerPoint(dimensions) + WASTE) + Math.min(ROWS, held * row),
    // the cells of a large bank hold it once more
    banks: (pays(bank, 'cpu') ? 2 : 1) * bank * row,
    disk: (held + sample + bank) * row
  };
}

/**
 * The patches of all images of a fit. As long as they fit into the memory limit all are held (in a file), and the coreset is chosen from
 * all. Then they are reduced to a coreset of some times the bank's size; from then on a patch is only taken in if it is farther from
 * all held ones than the radius of that coreset, until they have to be reduced again. So memory, disk and time a picture do not grow
 * with the images, and no patch is farther than the radii together from what is held.
 * Source: the doubling algorithm for incremental clustering, Charikar, Chekuri, Feder and Motwani (1997), with greedy reductions.
 */
export class PatchPool {
  readonly sample: Sample;
  private readonly size: ReturnType<typeof poolSize>;
  private origin: number[] = [];
  private held: Held | undefined;
  private images = 0;
  /** bound of the distance from any patch that was dropped to one that is held */
  private reach = 0;

  private constructor(
    private readonly runtime: Runtime,
    private readonly file: RowFile,
    private readonly options: PoolOptions
  ) {
    this.size = poolSize(options);
    const { patchesPerTile, sampleSize, seed } = options;
    this.sample = new Sample(file, patchesPerTile, randomStream(seed), sampleSize);
  }

  /** @throws GoodpartsError `store-write` */
  static async create(runtime: Runtime, options: PoolOptions): Promise<PatchPool> {
    return new PatchPool(runtime, await RowFile.create(options.folder, options.dimensions), options);
  }

  /** Takes in the patches of the next image, [P, D], or of a tile of it. @throws GoodpartsError `store-write`, `fit-aborted` */
  async add(patches: Float32Array, tile = 0, tiles = 1): Promise<void> {
    if (tile === 0) this.images++;
    let taken = this.held ? await this.held.news(patches) : patches;
    const { room, most } = this.size;
    if (this.file.count + taken.length / this.options.dimensions > (this.held ? room : most)) {
      await this.reduce();
      taken = await this.held!.news(taken);
    }
    const row = this.file.count;
    await this.take(taken, this.images - 1);
    await this.sample.offer(patches, row, tile, tiles);
  }

  /** Chooses the bank; the pool takes no more images then. */
  async choose(count: number, anchors: number, onProgress: (done: number) => void): Promise<Bank> {
    await this.held?.release();
    this.held = undefined;
    const { seed, signal } = this.options;
    const { chosen, radius, points } = await coreset(this.runtime, this.file, {
      count,
      anchors,
      seed,
      signal,
      onProgress
    });
    await points.release();
    return {
      data: await this.file.gather(chosen),
      origin: chosen.map(i => this.origin[i]),
      radius: radius + this.reach
    };
  }

  async close(): Promise<void> {
    await Promise.all([this.held?.release(), this.file.close(), this.sample.close()]);
    this.held = undefined;
    this.origin = [];
  }

  private async take(patches: Float32Array, image: number): Promise<void> {
    await this.file.append(patches);
    for (let i = patches.length / this.options.dimensions; i > 0; i--) this.origin.push(image);
    await this.held?.add(patches);
  }

  private async reduce(): Promise<void> {
    const { folder, dimensions, seed, signal } = this.options;
    if (!this.sample.moved) await this.sample.moveTo(await RowFile.create(folder, dimensions));
    await this.held?.release();
    this.held = undefined;
    const { chosen, radius, points } = await coreset(this.runtime, this.file, {
      count: this.size.kept,
      anchors: 0,
      seed,
      signal
    });
    const kept = chosen.slice().sort();
    await this.file.keep(kept);
    this.origin = Array.from(kept, i => this.origin[i]);
    this.held = new Held(points, kept, radius, this.size.room);
    points.forget();
    this.reach += radius;
  }
}

/** The patches that are held after a reduction, by their shadows. */
class Held {
  private readonly shadow: Shadow;
  private readonly file: RowFile;
  private readonly shadows: Float32Array;
  private readonly norms: Float32Array;
  private readonly squared: SquaredDistance;
  private count = 0;

  constructor(
    points: Points,
    kept: Int32Array,
    private readonly radius: number,
    room: number
  ) {
    this.shadow = points.shadow;
    this.file = points.file;
    this.shadows = new Float32Array(room * points.shadow.size);
    this.norms = new Float32Array(room);
    this.squared = new SquaredDistance(this.file.dimensions);
    for (let at = 0; at < kept.length; at += BLOCK) this.append(points.shadowsOf(kept.subarray(at, at + BLOCK)));
  }

  async add(patches: Float32Array): Promise<void> {
    this.append(await this.shadow.of(patches));
  }

  release(): Promise<void> {
    return this.shadow.release();
  }

  private append(shadows: Float32Array): void {
    this.shadows.set(shadows, this.count * this.shadow.size);
    const norms = squaredLengths(shadows, this.shadow.size);
    this.norms.set(norms, this.count);
    this.count += norms.length;
  }

  /** Those of some patches that none of the held ones covers. */
  async news(patches: Float32Array): Promise<Float32Array> {
    const { shadow, file } = this;
    const { dimensions } = file;
    const { size } = shadow;
    if (!patches.length) return patches;
    const shadows = await shadow.of(patches);
    const norms = squaredLengths(shadows, size);
    const nearest = new Int32Array(norms.length);
    const bound = new Float32Array(norms.length).fill(Infinity);
    for (let at = 0; at < this.count; at += BLOCK) {
      const end = Math.min(this.count, at + BLOCK);
      const centers = this.shadows.subarray(at * size, end * size);
      const bounds = await shadow.relativeBounds(shadows, centers, this.norms.subarray(at, end));
      const minima = new Minima(bounds, end - at);
      for (let i = 0; i < norms.length; i++) {
        const best = minima.smallest(i);
        const value = bounds[i * (end - at) + best];
        if (value >= bound[i]) continue;
        bound[i] = value;
        nearest[i] = at + best;
      }
    }
    const limit = this.radius ** 2;
    const slack = slackOf(norms) + slackOf(this.norms);
    // what looks near is measured, what does not look near cannot be
    const near = nearest.map((_, i) => i).filter(i => bound[i] + norms[i] - slack <= limit);
    const others = await file.gather(near.map(i => nearest[i]));
    const covered = new Set(
      Array.from(near).filter((i, k) => {
        this.squared.from(patches.subarray(i * dimensions, (i + 1) * dimensions));
        return this.squared.to(others.subarray(k * dimensions, (k + 1) * dimensions), limit) <= limit;
      })
    );
    const fresh = Array.from(norms.keys()).filter(i => !covered.has(i));
    const rows = new Float32Array(fresh.length * dimensions);
    fresh.forEach((i, k) => rows.set(patches.subarray(i * dimensions, (i + 1) * dimensions), k * dimensions));
    return rows;
  }
}
