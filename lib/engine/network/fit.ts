import { decode } from '../decode';
import type { FitOptions, FitSession } from '../contracts';
import { GoodpartsError } from '../errors';
import { noImages } from '../fit';
import type { Runtime } from '../runtime';
import { selfTestPicture } from '../selftest';
import type { DetectorStore } from '../store';
import { percentile } from '../threshold';
import type { Calibration, FitResult, FitSettings, ImageInput, ImageLimits, NetworkFacts } from '../types';
import { NETWORK } from '../version';
import { coveredBy } from './covered';
import { readNetwork, type NetworkFile } from './file';
import { highest, Network, numbersOf } from './network';
import { recognise } from './recognise';

export interface NetworkFitParts {
  name: string;
  /** as they were given: what is missing is found in the file */
  settings: FitSettings;
  complete: Required<FitSettings>;
  runtime: Runtime;
  store: DetectorStore;
  limits: Partial<ImageLimits>;
  options: FitOptions;
  /** the percentile of the good scores that becomes the network's own threshold, where it brings none */
  ownPercentile?: number;
}

/** A network that was read, recognised and tried out. */
export interface OpenedNetwork {
  network: Network;
  facts: NetworkFacts;
  file: NetworkFile;
  own?: Calibration['own'];
}

/**
 * Reads a detector network and runs it once.
 * @throws GoodpartsError `backbone-missing`, `backbone-unreadable`, `backbone-input`, `backbone-size`, `network-unknown`, `network-output`
 */
export async function openNetwork(runtime: Runtime, settings: FitSettings): Promise<OpenedNetwork> {
  const place = settings.network!;
  const file = await readNetwork(place);
  const { own, ...plan } = recognise(file.model, place, settings, file.beside);
  const network = await Network.open(runtime, file.model, plan, place);
  try {
    return { network, facts: { ...plan, covered: await coveredBy(network, plan.input) }, file, own };
  } catch (error) {
    await network.release();
    throw error;
  }
}

/** One value in so many of each map is kept for the median. */
const MAP_STEP = 61;

/**
 * A fit that learns nothing: the network has learned before. The good images only say what its numbers are for good parts, from which
 * thresholds and colours come. Of each image nothing is kept but these numbers.
 */
export class NetworkFit implements FitSession {
  private readonly scores: number[] = [];
  private readonly mapMaxima: number[] = [];
  private readonly mapValues: number[] = [];
  private readonly start = performance.now();
  private imagesMs = 0;
  private closed = false;

  private constructor(
    private readonly parts: NetworkFitParts,
    private readonly opened: OpenedNetwork
  ) {}

  /** @throws GoodpartsError as `openNetwork` */
  static async create(parts: NetworkFitParts): Promise<NetworkFit> {
    return new NetworkFit(parts, await openNetwork(parts.runtime, parts.settings));
  }

  get images(): number {
    return this.scores.length;
  }

  async add(image: ImageInput): Promise<void> {
    this.check();
    const start = performance.now();
    const { network } = this.opened;
    const { input } = await network.prepare(await decode(image, this.parts.limits));
    const { score, map } = await network.run(input);
    this.check();
    this.scores.push(score);
    if (map) {
      this.mapMaxima.push(highest(map.data));
      for (let i = 0; i < map.data.length; i += MAP_STEP) this.mapValues.push(map.data[i]);
    }
    this.imagesMs += performance.now() - start;
    this.parts.options.onProgress?.({ stage: 'images', done: this.images, total: this.images });
  }

  async finish(): Promise<FitResult> {
    this.check();
    if (!this.images) throw noImages();
    try {
      return await this.save();
    } finally {
      this.abort();
    }
  }

  abort(): void {
    if (this.closed) return;
    this.closed = true;
    void this.opened.network.release();
  }

  private async save(): Promise<FitResult> {
    const { name, runtime, store, options } = this.parts;
    const { network, facts, file } = this.opened;
    const calibration = this.calibration();
    options.onProgress?.({ stage: 'save', done: 0, total: 1 });
    const picture = selfTestPicture();
    const [score, ...map] = numbersOf(await network.run((await network.prepare(picture)).input));
    const info = {
      name,
      kind: 'onnx' as const,
      created: new Date().toISOString(),
      // whatever backbone was chosen, none is needed
      settings: {
        ...this.parts.complete,
        backbone: 'embedded',
        inputWidth: facts.input.width,
        inputHeight: facts.input.height
      },
      images: this.images,
      network: { ...facts, source: file.source },
      calibration,
      selfTest: { score }
    };
    const arrays = {
      'selftest-image': { data: picture.data, shape: [picture.height, picture.width, 3] },
      'selftest-map': { data: Float32Array.from(map), shape: [map.length] }
    };
    this.check();
    const saving = performance.now();
    const version = await store.save(info, arrays, { [NETWORK]: file.bytes });
    options.onProgress?.({ stage: 'save', done: 1, total: 1 });
    const [images, saved, total] = [this.imagesMs, performance.now() - saving, performance.now() - this.start];
    const note = this.note(calibration);
    return {
      name,
      version,
      images: this.images,
      patches: 0,
      bankSize: 0,
      radius: 0,
      calibration,
      device: runtime.device,
      ...(note && { note }),
      timing: { images, coreset: 0, calibration: 0, save: saved, total }
    };
  }

  private calibration(): Calibration {
    const ascending = (values: number[]): number[] => values.sort((a, b) => a - b);
    const [scores, mapMaxima] = [ascending(this.scores), ascending(this.mapMaxima)];
    const { ownPercentile } = this.parts;
    const drawn = ownPercentile !== undefined && {
      score: percentile(scores, ownPercentile),
      ...(mapMaxima.length && { map: percentile(mapMaxima, ownPercentile) })
    };
    const own = this.opened.own ?? (drawn || undefined);
    return {
      method: 'scored',
      scores,
      mapMaxima,
      mapMedian: this.mapValues.length ? percentile(ascending(this.mapValues), 50) : 0,
      ...(own && { own })
    };
  }

  /** Says where the network's own threshold does not suit these parts. */
  private note({ scores, own }: Calibration): string | undefined {
    const above = own?.score === undefined ? 0 : scores.filter(score => score > own.score!).length;
    if (above <= scores.length / 10) return undefined;
    return (
      `${above} of ${scores.length} good images score above the network's own threshold of ${own!.score!.toPrecision(3)}: ` +
      'it was made for other pictures, or wants them otherwise. Use a percentile of the good parts as the threshold.'
    );
  }

  private check(): void {
    if (!this.closed && !this.parts.options.signal?.aborted) return;
    this.abort();
    throw new GoodpartsError('fit-aborted', 'The fit was stopped.');
  }
}
