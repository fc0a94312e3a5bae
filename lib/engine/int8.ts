import { decode } from './decode';
import type { FitOptions, FitSession } from './engine';
import { GoodpartsError } from './errors';
import type { Extractor } from './features';
import type { Lease } from './cache';
import { RangeObserver, type RangeArray } from './ranges';
import type { Runtime } from './runtime';
import { selfTestPicture } from './selftest';
import type { ImageInput, ImageLimits } from './types';

/** Good pictures whose ranges are averaged; more changed the error of the features by less than a tenth. */
const PICTURES = 16;
/** Raw pictures may be large: no more of them are held than this, bytes. */
const HELD = 128 * 2 ** 20;
/** Of those, so many are compared with float32. */
const COMPARED = 3;
/**
 * Largest error of a picture's embeddings that is accepted, relative to their length. 8 bits done well give .04 to .08 (embedded backbone,
 * ResNet50; bottle, cookie); see docs/architecture.md.
 */
const TOLERANCE = 0.2;

export interface Int8Parts {
  runtime: Runtime;
  /** the backbone in float32 */
  exact: Lease<Extractor>;
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
  private observer: RangeObserver | undefined;
  private fit: FitSession | undefined;
  private replaying = false;
  private closed = false;

  constructor(private readonly parts: Int8Parts) {}

  get images(): number {
    return this.fit && !this.replaying ? this.fit.images : this.held.length;
  }

  async add(image: ImageInput): Promise<void> {
    if (this.fit) return this.fit.add(image);
    this.check();
    const { exact, limits, runtime, options } = this.parts;
    const { input } = await exact.value.prepare(await decode(image, limits));
    this.observer ??= await RangeObserver.create(runtime, exact.value);
    await this.observer.add(input);
    this.check();
    if (this.inputs.length < COMPARED) this.inputs.push(input);
    this.held.push(image);
    options.onProgress?.({ stage: 'images', done: this.images, total: this.images });
    const bytes = this.held.reduce((sum, i) => sum + (i instanceof Uint8Array ? i : i.data).length, 0);
    if (this.held.length >= PICTURES || bytes >= HELD) await this.begin();
  }

  async finish(): Promise<Awaited<ReturnType<FitSession['finish']>>> {
    this.check();
    if (!this.fit) await this.begin();
    return this.fit!.finish();
  }

  abort(): void {
    this.closed = true;
    this.fit?.abort();
    this.free();
  }

  /** Loads the backbone in 8 bits, compares it with float32 and puts the pictures that were held into the fit. */
  private async begin(): Promise<void> {
    const { exact, options, open } = this.parts;
    // without a picture the fit itself says what is missing
    const lease = this.observer ? await this.parts.quantized(this.observer.ranges()) : exact;
    try {
      await this.compare(lease.value);
      this.check();
    } catch (error) {
      lease.release();
      this.abort();
      throw error;
    }
    const quiet: FitOptions = { ...options, onProgress: p => !this.replaying && options.onProgress?.(p) };
    this.replaying = true;
    this.fit = open(lease, quiet);
    for (const image of this.held) await this.fit.add(image);
    this.replaying = false;
    this.free();
  }

  private async compare(quantized: Extractor): Promise<void> {
    const { exact } = this.parts;
    const drawn = await exact.value.prepare(selfTestPicture());
    for (const input of [drawn.input, ...this.inputs]) {
      const [a, b] = [await exact.value.embed([input]), await quantized.embed([input])];
      const error = distance(a.patches[0], b.patches[0]);
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
    void this.observer?.release();
    this.observer = undefined;
    this.parts.exact.release();
  }
}

/** Length of the difference of two sets of embeddings, relative to the first; NaN where one holds a NaN. */
function distance(exact: Float32Array, other: Float32Array): number {
  let [error, length] = [0, 0];
  exact.forEach((e, i) => {
    error += (other[i] - e) ** 2;
    length += e ** 2;
  });
  return Math.sqrt(error / length);
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
