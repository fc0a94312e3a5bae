import type { Lease } from '../cache';
import { decode, type Picture } from '../decode';
import type { FitOptions, FitSession } from '../contracts';
import { GoodpartsError } from '../errors';
import { pictureFeeds, type Extractor } from '../features';
import { noImages } from '../fit';
import { preprocessGraph } from '../graphs/preprocess';
import type { Runtime, Session } from '../runtime';
import type { FitResult, FitSettings, FitStage, ImageInput, ImageLimits, RawImage } from '../types';
import type { Checkpoint, Saved } from './checkpoint';
import { Gallery } from './gallery';
import { methodFor } from './methods';
import { divided, picturesOf, stopped, Training } from './training';

/** Both networks halve their pictures five times at most. */
const MULTIPLE = 32;

/** What a training is given of a picture instead of what was asked for: whole multiples of 32 pixels. */
export const trainingSize = ({
  inputWidth,
  inputHeight
}: Required<FitSettings>): { width: number; height: number } => ({
  width: inputWidth - (inputWidth % MULTIPLE),
  height: inputHeight - (inputHeight % MULTIPLE)
});

export interface TrainingFitParts {
  name: string;
  /** with a size that a training can take */
  settings: Required<FitSettings>;
  runtime: Runtime;
  /** of the teacher, where there is one */
  extractor?: Lease<Extractor>;
  limits: Partial<ImageLimits>;
  options: FitOptions;
  checkpoint: Checkpoint;
  /** what an interrupted training left */
  saved?: Saved;
  /** opens the fit that makes a detector of the trained network, an .onnx file: it scores good pictures and saves the version */
  calibrate(network: string): Promise<FitSession>;
}

/** A fit that trains a network: pictures are collected in a file, then it goes through them until it has learned them. */
export class TrainingFit implements FitSession {
  private training?: Training;
  private calibration?: FitSession;
  private turn: Promise<void> = Promise.resolve();
  private imagesMs = 0;
  private closed = false;
  private finishing = false;
  /** asked for before there was anything to pause */
  private pausedEarly = false;

  private constructor(
    private readonly parts: TrainingFitParts,
    private readonly gallery: Gallery,
    private readonly preprocess: Session
  ) {}

  /** @throws GoodpartsError `store-write` */
  static async open(parts: TrainingFitParts): Promise<TrainingFit> {
    const { inputWidth: width, inputHeight: height } = parts.settings;
    const values = { mean: [0, 0, 0], std: [1, 1, 1] };
    const how = { pillow: false, interpolation: 'linear' as const };
    const graph = preprocessGraph({ width, height, ...values, ...how });
    const gallery = await Gallery.open(parts.checkpoint.pictures, { width, height });
    return new TrainingFit(parts, gallery, await parts.runtime.session(graph, 'processor'));
  }

  get images(): number {
    return this.gallery.count;
  }

  async add(image: ImageInput): Promise<void> {
    this.check();
    if (this.finishing)
      throw new GoodpartsError('fit-aborted', 'This fit is being completed; it takes no more images.');
    const start = performance.now();
    const picture = await this.prepare(await decode(image, this.parts.limits));
    const done = this.turn.then(() => this.gallery.add(picture));
    this.turn = done.catch(() => undefined);
    await done;
    this.imagesMs += performance.now() - start;
    this.report('images', this.images, this.images);
  }

  async finish(): Promise<FitResult> {
    await this.turn;
    this.check();
    if (!this.images) throw noImages();
    this.finishing = true;
    try {
      const result = await this.build();
      await this.parts.checkpoint.remove();
      return result;
    } finally {
      await this.close();
    }
  }

  /** Holds the training after the step that it is at; what is held can be resumed even after a restart. */
  pause(): void {
    this.check();
    this.pausedEarly = !this.training;
    this.training?.pause();
  }

  resume(): void {
    this.pausedEarly = false;
    this.training?.resume();
  }

  abort(): void {
    this.closed = true;
    this.calibration?.abort();
    this.training?.resume();
    // a training under way frees everything itself when it has met the end
    if (!this.finishing) void this.close();
  }

  private async build(): Promise<FitResult> {
    const { settings, runtime, checkpoint, extractor, options } = this.parts;
    const start = performance.now();
    const saved: Saved = this.parts.saved ?? {
      settings,
      backboneSha256: extractor?.value.backbone.sha256 ?? '',
      images: this.images
    };
    // from here on the pictures count: a restart need not ask for them again
    await checkpoint.save(saved);
    const method = await methodFor(runtime, settings, picturesOf(this.gallery), extractor?.value);
    try {
      this.training = new Training({
        ...{ runtime, method, checkpoint, saved, gallery: this.gallery },
        seed: settings.seed,
        epochs: settings.epochs,
        check: () => this.check(),
        onProgress: training =>
          options.onProgress?.({ stage: 'training', done: Math.round(1000 * training.share), total: 1000, training })
      });
      if (this.pausedEarly) this.training.pause();
      const { weights, progress } = await this.training.run();
      const { heldOut } = divided(this.images);
      const network = await method.network(weights, picturesOf(this.gallery, heldOut));
      const trainingMs = performance.now() - start;
      const result = await this.calibrated(await checkpoint.keep(`${settings.method}.onnx`, network));
      const { timing } = result;
      return {
        ...result,
        training: progress,
        timing: {
          ...timing,
          images: round(this.imagesMs),
          training: round(trainingMs),
          total: round(this.imagesMs + performance.now() - start)
        }
      };
    } finally {
      await method.release();
    }
  }

  /** Good pictures are scored by the trained network, and it is saved. */
  private async calibrated(network: string): Promise<FitResult> {
    this.calibration = await this.parts.calibrate(network);
    try {
      let done = 0;
      for await (const picture of picturesOf(this.gallery)) {
        this.check();
        this.report('calibration', done++, this.images);
        await this.calibration.add(rawImage(picture, this.parts.settings));
      }
      return await this.calibration.finish();
    } catch (error) {
      this.calibration.abort();
      throw error;
    }
  }

  /** RGB in 0..1, [3, H, W], as large as the network's input. */
  private async prepare(picture: Picture): Promise<Float32Array> {
    const { inputWidth: resizedWidth, inputHeight: resizedHeight } = this.parts.settings;
    const window = { resizedWidth, resizedHeight, left: 0, top: 0 };
    return (await this.preprocess.run(pictureFeeds(picture, window))).input.data;
  }

  private async close(): Promise<void> {
    this.closed = true;
    this.parts.extractor?.release();
    await this.turn;
    await Promise.all([this.gallery.close().catch(() => undefined), this.preprocess.release()]);
  }

  private check(): void {
    if (!this.closed && !this.parts.options.signal?.aborted) return;
    throw stopped();
  }

  private report(stage: FitStage, done: number, total: number): void {
    this.parts.options.onProgress?.({ stage, done, total });
  }
}

function rawImage(picture: Float32Array, { inputWidth: width, inputHeight: height }: Required<FitSettings>): RawImage {
  const size = width * height;
  const data = new Uint8Array(3 * size);
  for (let i = 0; i < size; i++) for (let c = 0; c < 3; c++) data[3 * i + c] = Math.round(255 * picture[c * size + i]);
  return { data, width, height, channels: 3 };
}

const round = (ms: number): number => Math.round(10 * ms) / 10;
