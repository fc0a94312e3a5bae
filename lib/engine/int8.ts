import type { FitOptions, FitSession } from './contracts';
import { decode } from './decode';
import { GoodpartsError } from './errors';
import type { Extractor } from './features';
import type { Lease } from './cache';
import { noImages } from './fit';
import { RangeObserver, type RangeArray } from './ranges';
import type { Runtime } from './runtime';
import { relativeError, selfTestPicture } from './selftest';
import { tileCount, tilesOf } from './tiles';
import type { FitResult, FitSettings, ImageInput, ImageLimits } from './types';

/** Good pictures whose ranges are averaged; with 30 instead the features' error was 1 % to 3 % smaller. */
const PICTURES = 16;
/** Tiles of a picture, of those it has, whose ranges are taken. */
const TILES = 4;
/** Raw pictures may be large: no more of them are held than this, bytes. */
const HELD = 128 * 2 ** 20;
/** Of those, so many are compared with float32. */
const COMPARED = 3;
/**
 * Largest error of a picture's embeddings that is accepted, relative to their length. 8 bits done well give .03 to .07 (embedded backbone,
 * ResNet18, ResNet50); see docs/architecture.md.
 */
const TOLERANCE = 0.15;

export interface Int8Parts {
  runtime: Runtime;
  /** the backbone in float32 */
  exact: Lease<Extractor>;
  settings: Required<FitSettings>;
  limits: Partial<ImageLimits>;
  options: FitOptions;
  /** loads the backbone in 8 bits */
  quantized(ranges: RangeArray): Promise<Lease<Extractor>>;
  /** starts the fit itself, which gives the lease back when it ends */
  open(extractor: Lease<Extractor>, options: FitOptions): FitSession;
}

/**
 * A fit with the backbone in 8 bits. The first pictures tell the ranges of what flows through it; then the fit is started with them
 * and goes on as any other.
 * @throws GoodpartsError `fit-precision` from `add` or `finish` where 8 bits are too coarse for this backbone or processor
 */
export class Int8Fit implements FitSession {
  private held: ImageInput[] = [];
  private inputs: Float32Array[] = [];
  /** the fit that takes what was held, and, once it has, everything else */
  private fit: FitSession | undefined;
  private ready = false;
  private freed = false;
  private closed = false;
  /** images are taken one after the other until the fit is ready, so that the same images give the same detector */
  private turn: Promise<void> = Promise.resolve();

  private constructor(
    private readonly parts: Int8Parts,
    private readonly observer: RangeObserver
  ) {}

  /** @throws GoodpartsError `fit-precision` where the backbone cannot be rounded; `parts.exact` is given back then */
  static async create(parts: Int8Parts): Promise<Int8Fit> {
    try {
      return new Int8Fit(parts, await RangeObserver.create(parts.runtime, parts.exact.value));
    } catch (error) {
      parts.exact.release();
      throw error;
    }
  }

  get images(): number {
    return this.ready ? this.fit!.images : this.held.length;
  }

  async add(image: ImageInput): Promise<void> {
    if (this.ready) return this.fit!.add(image);
    const done = this.turn.then(() => (this.ready ? this.fit!.add(image) : this.observe(image)));
    this.turn = done.catch(() => undefined);
    return done;
  }

  private async observe(image: ImageInput): Promise<void> {
    this.check();
    const { exact, settings, limits, options } = this.parts;
    const picture = await decode(image, limits);
    const step = Math.ceil(tileCount(picture, settings) / TILES);
    let seen = 0;
    for (const tile of tilesOf(picture, settings)) {
      if (seen++ % step) continue;
      const { input } = await exact.value.prepare(tile);
      await this.observer.add(input);
      this.check();
      if (this.inputs.length < COMPARED) this.inputs.push(input);
    }
    this.held.push(image);
    options.onProgress?.({ stage: 'images', done: this.images, total: this.images });
    const bytes = this.held.reduce((sum, i) => sum + (i instanceof Uint8Array ? i : i.data).length, 0);
    if (this.held.length >= PICTURES || bytes >= HELD) await this.begin();
  }

  async finish(): Promise<FitResult> {
    await this.turn;
    this.check();
    if (!this.images) throw noImages();
    if (!this.ready) await this.begin();
    return this.fit!.finish();
  }

  abort(): void {
    this.closed = true;
    this.fit?.abort();
    this.free();
  }

  /** Loads the backbone in 8 bits, compares it with float32 and puts the pictures that were held into the fit. */
  private async begin(): Promise<void> {
    const { options, open } = this.parts;
    let lease: Lease<Extractor> | undefined;
    try {
      lease = await this.parts.quantized(this.observer.ranges());
      await this.compare(lease.value);
      this.check();
      this.fit = open(lease, { ...options, onProgress: p => this.ready && options.onProgress?.(p) });
      for (const image of this.held) await this.fit.add(image);
      this.ready = true;
      this.free();
    } catch (error) {
      lease?.release();
      this.abort();
      throw error;
    }
  }

  private async compare(quantized: Extractor): Promise<void> {
    const { exact } = this.parts;
    const drawn = await exact.value.prepare(selfTestPicture());
    for (const input of [drawn.input, ...this.inputs]) {
      const [a, b] = [await exact.value.embed([input]), await quantized.embed([input])];
      const error = relativeError(b.patches[0], a.patches[0]);
      if (!(error <= TOLERANCE)) throw tooCoarse(error);
    }
  }

  private check(): void {
    if (!this.closed && !this.parts.options.signal?.aborted) return;
    this.abort();
    throw new GoodpartsError('fit-aborted', 'The fit was stopped.');
  }

  private free(): void {
    this.held = [];
    this.inputs = [];
    if (this.freed) return;
    this.freed = true;
    // a picture may be on its way through them
    void this.turn.then(() => {
      this.parts.exact.release();
      return this.observer.release();
    });
  }
}

function tooCoarse(error: number): GoodpartsError {
  const percent = (error * 100).toPrecision(2);
  return new GoodpartsError(
    'fit-precision',
    `In int8 the backbone computes something else than in float32: its features differ by ${percent} %, ${TOLERANCE * 100} % are accepted. ` +
      'Either this backbone cannot be rounded so far, or this processor computes int8 badly. Set the precision to float32.',
    { difference: error, tolerance: TOLERANCE }
  );
}
