import { Aligner } from './align';
import { embedAugmented, type Learned } from './augment';
import { Bank, imageScore, leaveOneOut, Scored } from './calibrate';
import { decode, Picture } from './decode';
import type { FitOptions, FitSession } from './engine';
import { GoodpartsError } from './errors';
import type { Extractor } from './features';
import { MapHead, createSearch, SearchHead } from './head';
import type { MemoryCheck } from './memory';
import { PairDistances } from './pairs';
import { PatchPool } from './pool';
import { PRESETS } from './presets';
import { perturbed } from './perturb';
import { inspectedRows, type Inspection } from './region';
import type { Runtime } from './runtime';
import { runSelfTest, selfTestArrays, selfTestPicture } from './selftest';
import type { DetectorStore } from './store';
import { percentile } from './threshold';
import { tileCount, tilesOf } from './tiles';
import type { Calibration, FitResult, FitSettings, FitStage, ImageInput, ImageLimits } from './types';

interface FitParts {
  name: string;
  settings: Required<FitSettings>;
  runtime: Runtime;
  extractor: Extractor;
  /** undefined: everything is inspected */
  inspection?: Inspection;
  store: DetectorStore;
  limits: Partial<ImageLimits>;
  /** throws where one image more than `learned` would need more memory than there is */
  checkMemory: MemoryCheck;
  options: FitOptions;
}

/** A fit under way; see FitSession for the contract. */
export class PatchCoreFit implements FitSession {
  private pool: PatchPool | undefined;
  /** images are put into the pool one after the other, however they are added */
  private turn: Promise<void> = Promise.resolve();
  private aligning: Promise<unknown> = Promise.resolve();
  private aligner: Aligner | undefined;
  private added = 0;
  /** of all images */
  private tiles = 0;
  /** patches of all images and their copies */
  private patches = 0;
  /** of each image, its patches' numbers */
  private numbers = 0;
  private grid: Omit<Learned, 'patches'> | undefined;
  /** kept only while it is the only one, to calibrate a detector of a single image */
  private first: Picture | undefined;
  private imagesMs = 0;
  private state: 'open' | 'finishing' | 'closed' = 'open';

  constructor(private readonly parts: FitParts) {}

  get images(): number {
    return this.added;
  }

  async add(image: ImageInput): Promise<void> {
    this.check();
    if (this.state !== 'open')
      throw new GoodpartsError('fit-aborted', 'This fit is being completed; it takes no more images.');
    this.parts.checkMemory(this.added, this.tiles);
    const start = performance.now();
    const picture = await this.aligned(await decode(image, this.parts.limits));
    const tiles = tilesOf(picture, this.parts.settings);
    const first = await this.learn(tiles.next().value as Picture);
    const done = this.turn.then(() => this.take(picture, first, tiles));
    this.turn = done.catch(() => undefined);
    await done;
    this.imagesMs += performance.now() - start;
    this.report('images', this.images, this.images);
  }

  /** The picture, turned if parts are aligned: the first one is the reference. One after the other, so that there is one first. */
  private aligned(picture: Picture): Promise<Picture> {
    if (this.parts.settings.align === 'none') return Promise.resolve(picture);
    const done = this.aligning.then(async () => {
      const aligner = this.aligner ?? (await Aligner.create(picture, this.parts.settings));
      const turned = await aligner.learn(picture);
      this.aligner = aligner;
      return turned;
    });
    this.aligning = done.catch(() => undefined);
    return done;
  }

  /** The patches of a tile and its copies. */
  private learn(tile: Picture): Promise<Learned> {
    const { extractor, settings, inspection } = this.parts;
    return embedAugmented(extractor, tile, settings.augment, inspection);
  }

  /** A failure in here ends the fit, as nobody can say what of the image is in the file. */
  private async take(picture: Picture, first: Learned, others: Iterable<Picture>): Promise<void> {
    this.check();
    const { patches, ...grid } = first;
    this.checkShape(picture, patches[0].length, grid);
    try {
      const tiles = tileCount(picture, this.parts.settings);
      await this.put(first, 0, tiles);
      let tile = 1;
      for (const other of others) await this.put(await this.learn(other), tile++, tiles);
      this.tiles += tiles;
    } catch (error) {
      this.abort();
      throw error;
    }
    this.first = this.added++ ? undefined : picture;
  }

  private async put({ patches, ...grid }: Learned, tile: number, tiles: number): Promise<void> {
    const { name, runtime, settings, store, options } = this.parts;
    const { dimensions } = grid;
    this.pool ??= await PatchPool.create(runtime, {
      folder: store.home(name),
      dimensions,
      patchesPerTile: patches[0].length / dimensions,
      bankSize: settings.bankSize,
      memoryLimit: settings.memoryLimit,
      seed: settings.seed,
      signal: options.signal
    });
    await this.pool.add(patches[0], tile, tiles);
    this.patches += patches[0].length / dimensions;
    this.grid = grid;
    this.check();
  }

  /** With a region all pictures must have the same patches inside; they have, unless a crop or a turn meets another shape of picture. */
  private checkShape({ width, height }: Picture, numbers: number, { inside }: Omit<Learned, 'patches'>): void {
    if (!this.grid) this.numbers = numbers;
    const others = this.grid?.inside?.patches;
    const same = !others || (numbers === this.numbers && inside!.patches.every((p, i) => p === others[i]));
    if (!same)
      throw new GoodpartsError(
        'region-shape',
        `This picture of ${width} x ${height} pixels has another shape than the ones before: the region lies otherwise in it. Fit with pictures of one shape, or without crop and turned copies.`
      );
  }

  async finish(): Promise<FitResult> {
    this.check();
    await this.turn;
    if (!this.images) throw noImages();
    this.state = 'finishing';
    try {
      return await this.build();
    } finally {
      await this.close();
    }
  }

  abort(): void {
    void this.close();
  }

  private async close(): Promise<void> {
    this.state = 'closed';
    this.first = undefined;
    await this.pool?.close();
  }

  private async build(): Promise<FitResult> {
    const start = performance.now();
    const lap = stopwatch();
    const bank = await this.chooseBank();
    const coresetMs = lap();
    const { runtime, settings, name, store, extractor, inspection } = this.parts;
    const { dimensions } = this.grid!;
    const search = await createSearch(runtime, bank.data, dimensions, settings);
    const map = await MapHead.create(runtime);
    try {
      const calibration = await this.calibrate(bank, search, map);
      const calibrationMs = lap();
      this.report('save', 0, 1);
      const picture = selfTestPicture();
      const selfTest = await runSelfTest({ extractor, search, map, settings, inspection }, picture);
      const info = {
        name,
        kind: 'patchcore' as const,
        created: new Date().toISOString(),
        settings,
        images: this.images,
        bankSize: bank.origin.length,
        dimensions,
        backboneSha256: extractor.backbone.sha256,
        calibration,
        selfTest: { score: selfTest.score }
      };
      const arrays = {
        bank: { data: bank.data, shape: [bank.origin.length, dimensions] },
        'bank-origin': { data: bank.origin, shape: [bank.origin.length] },
        ...search.arrays(),
        ...(extractor.ranges && { ranges: extractor.ranges }),
        ...this.aligner?.arrays(),
        ...selfTestArrays(picture, selfTest)
      };
      this.check();
      const version = await store.save(info, arrays);
      this.report('save', 1, 1);
      return {
        name,
        version,
        images: this.images,
        patches: this.patches,
        bankSize: bank.origin.length,
        radius: bank.radius,
        calibration,
        device: runtime.device,
        timing: rounded({
          images: this.imagesMs,
          coreset: coresetMs,
          calibration: calibrationMs,
          save: lap(),
          total: this.imagesMs + performance.now() - start
        })
      };
    } finally {
      await Promise.all([search.release(), map.release()]);
    }
  }

  private async chooseBank(): Promise<Bank> {
    const { settings } = this.parts;
    const wanted = Math.max(1, Math.floor(this.patches * settings.coresetRatio));
    const count = settings.bankSize ? Math.min(wanted, settings.bankSize) : wanted;
    this.report('coreset', 0, count);
    const { anchors } = PRESETS[settings.preset];
    return this.pool!.choose(count, anchors, done => this.report('coreset', done, count));
  }

  /**
   * Scores of the good images, each without its own patches, as they would find themselves at distance zero. A single image has
   * nobody else: slightly shifted and lit copies of it stand in.
   */
  private async calibrate(bank: Bank, search: SearchHead, map: MapHead): Promise<Calibration> {
    const found = this.images === 1 ? await this.searchCopies(search) : await this.leaveOneOut(bank, search);
    const mapMaxima: number[] = [];
    const values: number[] = [];
    for (const tiles of found) {
      const { inside } = this.grid!;
      let highest = 0;
      for (const { distances } of tiles) {
        const all = await map.inInput(distances, this.grid!, this.parts.settings, inside);
        const data = inside ? all.data.filter(v => !Number.isNaN(v)) : all.data;
        highest = data.reduce((a, b) => Math.max(a, b), highest);
        for (let i = 0; i < data.length; i += 61 * tiles.length) values.push(data[i]);
      }
      mapMaxima.push(highest);
    }
    const ascending = (a: number[]): number[] => a.sort((x, y) => x - y);
    return {
      method: this.images === 1 ? 'perturbed' : 'leave-one-out',
      scores: ascending(found.map(tiles => imageScore(tiles, this.parts.settings.preset))),
      mapMaxima: ascending(mapMaxima),
      mapMedian: percentile(ascending(values), 50)
    };
  }

  private async searchCopies(search: SearchHead): Promise<Scored[][]> {
    const found: Scored[][] = [];
    for await (const copy of perturbed(this.first!)) {
      const tiles: Scored[] = [];
      for (const tile of tilesOf(copy, this.parts.settings)) {
        this.check();
        tiles.push(await search.search(await this.embed(tile)));
      }
      found.push(tiles);
    }
    return found;
  }

  private async leaveOneOut(bank: Bank, search: SearchHead): Promise<Scored[][]> {
    const { runtime, settings } = this.parts;
    const { dimensions, rows, columns, inside } = this.grid!;
    const perTile = inside?.patches.length ?? rows * columns;
    const pairs = await PairDistances.create(runtime, dimensions);
    const onStep = (done: number, total: number): void => {
      this.check();
      this.report('calibration', done, total);
    };
    try {
      const { sample } = this.pool!;
      const { preset } = settings;
      return await leaveOneOut({ bank, sample, perTile, dimensions, search, pairs, preset, onStep });
    } finally {
      await pairs.release();
    }
  }

  private async embed(picture: Picture): Promise<Float32Array> {
    const { input } = await this.parts.extractor.prepare(picture);
    const { patches, dimensions } = await this.parts.extractor.embed([input]);
    return inspectedRows(patches[0], dimensions, this.grid!.inside);
  }

  private check(): void {
    if (this.state === 'closed' || this.parts.options.signal?.aborted) {
      this.abort();
      throw new GoodpartsError('fit-aborted', 'The fit was stopped.');
    }
  }

  private report(stage: FitStage, done: number, total: number): void {
    this.parts.options.onProgress?.({ stage, done, total });
  }
}

export const noImages = (): GoodpartsError =>
  new GoodpartsError(
    'fit-no-images',
    'There is nothing to learn from: send images of good parts before completing the fit.'
  );

/** Milliseconds since the last call. */
function stopwatch(): () => number {
  let last = performance.now();
  return () => {
    const lap = performance.now() - last;
    last += lap;
    return lap;
  };
}

function rounded<T extends Record<string, number>>(times: T): T {
  return Object.fromEntries(Object.entries(times).map(([k, v]) => [k, Math.round(v * 10) / 10])) as T;
}
