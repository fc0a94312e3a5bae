import { embedAugmented, type Learned } from './augment';
import { Bank, imageScore, leaveOneOut, type Scored, type Seen } from './calibrate';
import type { Picture } from './decode';
import { GoodpartsError } from './errors';
import type { Extractor } from './features';
import { createSearch, type MapHead, type SearchHead } from './head';
import { PairDistances } from './pairs';
import { PatchPool } from './pool';
import { PRESETS } from './presets';
import { perturbed } from './perturb';
import { inspectedRows, type Inspection } from './region';
import type { Runtime } from './runtime';
import { runSelfTest, selfTestArrays, selfTestPicture } from './selftest';
import { tilesOf } from './tiles';
import type { BankFacts, FitSettings } from './types';
import type { Arrays } from './version';

/** Called between steps; throws to stop. */
type OnStep = (done: number, total: number) => void;

interface BankParts {
  runtime: Runtime;
  extractor: Extractor;
  settings: Required<FitSettings>;
  /** undefined: everything is inspected */
  inspection?: Inspection;
  /** where its file lies while it is learned */
  folder: string;
  signal?: AbortSignal;
}

/** What a fit makes of pictures with one backbone: their patches, the bank chosen from them, and what good parts score in it. */
export class BankFit {
  private pool: PatchPool | undefined;
  /** of all images and their copies */
  patches = 0;
  /** of each image, its patches' numbers */
  private numbers = 0;
  private grid: Omit<Learned, 'patches'> | undefined;
  private search: SearchHead | undefined;
  private found: Scored[][] = [];
  bank: Bank | undefined;

  constructor(private readonly parts: BankParts) {}

  /** The patches of a tile and its copies. */
  learn(tile: Picture): Promise<Learned> {
    const { extractor, settings, inspection } = this.parts;
    return embedAugmented(extractor, tile, settings.augment, inspection);
  }

  /** With a region all pictures must have the same patches inside; they have, unless a crop or a turn meets another shape of picture. */
  checkShape({ width, height }: Picture, { patches, inside }: Learned): void {
    const numbers = patches[0].length;
    if (!this.grid) this.numbers = numbers;
    const others = this.grid?.inside?.patches;
    const same = !others || (numbers === this.numbers && inside!.patches.every((p, i) => p === others[i]));
    if (!same)
      throw new GoodpartsError(
        'region-shape',
        `This picture of ${width} x ${height} pixels has another shape than the ones before: the region lies otherwise in it. Fit with pictures of one shape, or without crop and turned copies.`
      );
  }

  /** @param sampleSize patches of a tile by which it is decided on how many images the detector is calibrated; see PoolOptions */
  async put({ patches, ...grid }: Learned, tile: number, tiles: number, sampleSize: number): Promise<void> {
    const { runtime, settings, folder, signal } = this.parts;
    const { dimensions } = grid;
    this.pool ??= await PatchPool.create(runtime, {
      folder,
      dimensions,
      patchesPerTile: patches[0].length / dimensions,
      sampleSize,
      bankSize: settings.bankSize,
      memoryLimit: settings.memoryLimit,
      seed: settings.seed,
      signal
    });
    await this.pool.add(patches[0], tile, tiles);
    this.patches += patches[0].length / dimensions;
    this.grid = grid;
  }

  /** Chooses the bank from all patches; no more images are taken then. */
  async choose(onStep: OnStep): Promise<void> {
    const { runtime, settings } = this.parts;
    const wanted = Math.max(1, Math.floor(this.patches * settings.coresetRatio));
    const count = settings.bankSize ? Math.min(wanted, settings.bankSize) : wanted;
    onStep(0, count);
    const { anchors } = PRESETS[settings.preset];
    this.bank = await this.pool!.choose(count, anchors, done => onStep(done, count));
    this.search = await createSearch(runtime, this.bank.data, this.grid!.dimensions, settings);
  }

  /**
   * Looks for good images in the bank, each without its own patches, as they would find themselves at distance zero.
   * @param only the image, if there is a single one, which has nobody else: slightly shifted and lit copies of it stand in
   * @returns how many were looked for
   */
  async find(only: Picture | undefined, onStep: OnStep): Promise<number> {
    this.found = only ? await this.searchCopies(only, onStep) : await this.leaveOneOut(onStep);
    return this.found.length;
  }

  /** One of the images that were looked for; all members of a fit have the same ones in the same order. */
  async seen(index: number, map: MapHead): Promise<Seen> {
    const { settings } = this.parts;
    const { inside } = this.grid!;
    const tiles = this.found[index];
    const maps: Float32Array[] = [];
    for (const { distances } of tiles) maps.push((await map.inInput(distances, this.grid!, settings, inside)).data);
    return { score: imageScore(tiles, settings.preset), maps };
  }

  /** What is stored of it. */
  async stored(map: MapHead): Promise<{ facts: BankFacts; selfTest: { score: number }; arrays: Arrays }> {
    const { extractor, settings, inspection } = this.parts;
    const { dimensions } = this.grid!;
    const bank = this.bank!;
    const search = this.search!;
    const picture = selfTestPicture();
    const selfTest = await runSelfTest({ extractor, search, map, settings, inspection }, picture);
    return {
      facts: { bankSize: bank.origin.length, dimensions, backboneSha256: extractor.backbone.sha256 },
      selfTest: { score: selfTest.score },
      arrays: {
        bank: { data: bank.data, shape: [bank.origin.length, dimensions] },
        'bank-origin': { data: bank.origin, shape: [bank.origin.length] },
        ...search.arrays(),
        ...(extractor.ranges && { ranges: extractor.ranges }),
        ...selfTestArrays(picture, selfTest)
      }
    };
  }

  async close(): Promise<void> {
    await this.pool?.close();
  }

  async release(): Promise<void> {
    await this.search?.release();
  }

  private async searchCopies(only: Picture, onStep: OnStep): Promise<Scored[][]> {
    const found: Scored[][] = [];
    for await (const copy of perturbed(only)) {
      const tiles: Scored[] = [];
      for (const tile of tilesOf(copy, this.parts.settings)) {
        onStep(0, 1);
        tiles.push(await this.search!.search(await this.embed(tile)));
      }
      found.push(tiles);
    }
    return found;
  }

  private async leaveOneOut(onStep: OnStep): Promise<Scored[][]> {
    const { runtime, settings } = this.parts;
    const { dimensions, rows, columns, inside } = this.grid!;
    const perTile = inside?.patches.length ?? rows * columns;
    const pairs = await PairDistances.create(runtime, dimensions);
    try {
      const { sample } = this.pool!;
      const { preset } = settings;
      const [bank, search] = [this.bank!, this.search!];
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
}
