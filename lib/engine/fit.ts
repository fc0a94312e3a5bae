import { Aligner } from './align';
import type { Learned } from './augment';
import { BankFit } from './bankfit';
import { calibrationOf } from './calibrate';
import type { FitOptions, FitSession } from './contracts';
import { decode, Picture } from './decode';
import { combined, memberSettings, scalesOf } from './ensemble';
import { GoodpartsError } from './errors';
import type { Extractor } from './features';
import { MapHead } from './head';
import type { MemoryCheck } from './memory';
import type { Inspection } from './region';
import type { Runtime } from './runtime';
import type { DetectorStore } from './store';
import { tileCount, tilesOf } from './tiles';
import type { Calibration, FitResult, FitSettings, FitStage, ImageInput, ImageLimits } from './types';
import { prefixed, type Arrays, type StoredInfo } from './version';

interface FitParts {
  name: string;
  settings: Required<FitSettings>;
  runtime: Runtime;
  /** one; with a second backbone, two */
  extractors: Extractor[];
  /** undefined: everything is inspected */
  inspection?: Inspection;
  store: DetectorStore;
  limits: Partial<ImageLimits>;
  /** throws where one image more than `learned` would need more memory than there is */
  checkMemory: MemoryCheck;
  options: FitOptions;
}

/** A fit under way; see FitSession for the contract. With a second backbone the same pictures make two banks. */
export class PatchCoreFit implements FitSession {
  private readonly members: BankFit[];
  /** images are put into the pools one after the other, however they are added */
  private turn: Promise<void> = Promise.resolve();
  private aligning: Promise<unknown> = Promise.resolve();
  private aligner: Aligner | undefined;
  private added = 0;
  /** of all images */
  private tiles = 0;
  /** kept only while it is the only one, to calibrate a detector of a single image */
  private first: Picture | undefined;
  private imagesMs = 0;
  private state: 'open' | 'finishing' | 'closed' = 'open';

  constructor(private readonly parts: FitParts) {
    const { runtime, settings, inspection, store, name, options } = parts;
    const folder = store.home(name);
    this.members = memberSettings(settings).map(
      (own, i) =>
        new BankFit({
          runtime,
          extractor: parts.extractors[i],
          settings: own,
          inspection,
          folder,
          signal: options.signal
        })
    );
  }

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

  /** The patches of a tile and its copies, as each member sees them. */
  private async learn(tile: Picture): Promise<Learned[]> {
    const learned: Learned[] = [];
    for (const member of this.members) learned.push(await member.learn(tile));
    return learned;
  }

  /** A failure in here ends the fit, as nobody can say what of the image is in the file. */
  private async take(picture: Picture, first: Learned[], others: Iterable<Picture>): Promise<void> {
    this.check();
    this.members.forEach((member, i) => member.checkShape(picture, first[i]));
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

  private async put(learned: Learned[], tile: number, tiles: number): Promise<void> {
    const sampleSize = Math.max(...learned.map(({ patches, dimensions }) => patches[0].length / dimensions));
    for (const [i, member] of this.members.entries()) await member.put(learned[i], tile, tiles, sampleSize);
    this.check();
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
    await Promise.all(this.members.map(member => member.close()));
  }

  private async build(): Promise<FitResult> {
    const start = performance.now();
    const lap = stopwatch();
    const { runtime, name, store } = this.parts;
    const map = await MapHead.create(runtime);
    try {
      for (const member of this.members) await member.choose((done, total) => this.report('coreset', done, total));
      const coresetMs = lap();
      const [calibration, own] = await this.calibrate(map);
      const calibrationMs = lap();
      this.report('save', 0, 1);
      const { info, arrays } = await this.stored(map, calibration, own);
      this.check();
      const version = await store.save(info, arrays);
      this.report('save', 1, 1);
      const banks = this.members.map(member => member.bank!);
      return {
        name,
        version,
        images: this.images,
        patches: sum(this.members.map(member => member.patches)),
        bankSize: sum(banks.map(bank => bank.origin.length)),
        radius: Math.max(...banks.map(bank => bank.radius)),
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
      await Promise.all([map, ...this.members].map(part => part.release()));
    }
  }

  /** What the good images score: the detector's calibration, and that of each of its members. */
  private async calibrate(map: MapHead): Promise<[Calibration, Calibration[]]> {
    const method = this.first ? 'perturbed' : 'leave-one-out';
    const onStep = (done: number, total: number): void => {
      this.check();
      this.report('calibration', done, total);
    };
    const own: Calibration[] = [];
    let count = 0;
    for (const member of this.members) {
      count = await member.find(this.first, onStep);
      own.push(await calibrationOf(method, count, i => member.seen(i, map)));
    }
    if (own.length === 1) return [own[0], own];
    const scales = scalesOf(own, this.parts.settings);
    const seen = async (i: number) =>
      combined(await Promise.all(this.members.map(member => member.seen(i, map))), scales);
    return [await calibrationOf(method, count, seen), own];
  }

  private async stored(
    map: MapHead,
    calibration: Calibration,
    own: Calibration[]
  ): Promise<{ info: StoredInfo; arrays: Arrays }> {
    const { name, settings } = this.parts;
    const created = new Date().toISOString();
    const facts = { name, created, settings, images: this.images, calibration };
    const kept: Awaited<ReturnType<BankFit['stored']>>[] = [];
    for (const member of this.members) kept.push(await member.stored(map));
    const arrays = {
      ...Object.assign({}, ...kept.map((member, i) => prefixed(member.arrays, i))),
      ...this.aligner?.arrays()
    } as Arrays;
    if (kept.length === 1) {
      const [{ facts: bank, selfTest }] = kept;
      return { info: { ...facts, ...bank, kind: 'patchcore', selfTest }, arrays };
    }
    const scales = scalesOf(own, settings);
    const members = kept.map(({ facts: bank, selfTest }, i) => ({ ...bank, selfTest, scale: scales[i] }));
    const bankSize = sum(members.map(member => member.bankSize));
    const { selfTest } = members[0];
    return { info: { ...facts, kind: 'ensemble', bankSize, members, selfTest }, arrays };
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

const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);

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
