import type { Lease } from './cache';
import type { ScoreOptions } from './contracts';
import { refusal } from './deadline';
import { decode, type Picture } from './decode';
import { GoodpartsError } from './errors';
import type { Extractor } from './features';
import type { ScoreMap } from './head';
import { regions } from './regions';
import type { RangeArray } from './ranges';
import type { Runtime } from './runtime';
import { once, type Shared } from './shared';
import type { DetectorStore } from './store';
import { LimitRule, limitOf } from './threshold';
import type { Alignment, AnomalyMap, DetectorInfo, FitSettings, ImageInput, ImageLimits, ScoreResult } from './types';

/** What marks a pixel as damaged unless the flow says otherwise: more than 99 % of the good images have nowhere in their maps. */
export const PIXEL_RULE: LimitRule = { method: 'percentile', value: 99 };

/** A detector version loaded on a device: what the engine needs of it, whatever its kind. Made by `loadDetector`. */
export interface Detector {
  readonly info: DetectorInfo;
  /** difference found by the self-test */
  readonly parity: number;
  /**
   * One entry an image: its result, or its own error. An image that is too late or taken back is left out at the next stage.
   */
  score(
    images: ImageInput[],
    limits: Partial<ImageLimits>,
    options?: ScoreOptions
  ): Promise<(ScoreResult | GoodpartsError)[]>;
  release(): Promise<void>;
}

/** What the loader of a kind is given beside the info of the version. */
export interface LoadParts {
  runtime: Runtime;
  store: DetectorStore;
  extractorFor(settings: Required<FitSettings>, ranges?: RangeArray): Promise<Lease<Extractor>>;
}

type Milliseconds = ScoreResult['timing'];

/** What a detector says of one picture; without a map there are no regions either. */
export interface Inspected {
  score: number;
  map?: ScoreMap;
  /** how the part lies, where it is looked for */
  alignment?: Alignment;
  /** what whoever reads the score has to know, as a sentence */
  note?: string;
  /** what took how long, as far as it is not seen from outside */
  timing: Partial<Milliseconds>;
}

/**
 * Score and map of one picture, the map as large as the picture where `full`, else small; see ScoreOptions. What takes long calls `check`
 * in between, which throws where the picture is not to be scored any more.
 * @throws GoodpartsError that this picture alone meets
 */
export type Inspect = (full: boolean, check: () => void) => Promise<Inspected>;

/**
 * How a kind of detector sees pictures: pixels in, score and map out. Everything else (decoding, deadlines, regions, timing) is the same
 * for all of them; see LoadedDetector.
 */
export interface Inspector<Input extends { width: number; height: number } = Picture> {
  /** Makes a picture ready for the network. @param shared what other detectors made of it already */
  prepare(picture: Picture, shared?: Shared): Promise<Input>;
  /** What the pictures of a call share, such as one run of a backbone; gives back what is left to do for each, in the same order. */
  begin(inputs: Input[], shared?: Shared): Promise<Inspect[]>;
  /** pictures may be huge and share nothing: the next one is decoded when the one before is done */
  readonly oneByOne?: boolean;
  release(): Promise<void>;
}

type Timed<Input> = { input: Input; timing: Milliseconds };

/** The answer to one picture that met an error of its own; any other error ends the call. */
function asEntry(error: unknown): GoodpartsError {
  if (error instanceof GoodpartsError) return error;
  throw error;
}

/** @throws GoodpartsError where an image is not to be scored any more */
function check(options: ScoreOptions, index: number): void {
  const refused = refusal(options, index);
  if (refused) throw refused;
}

/** A detector whose kind is told by its inspector. */
export class LoadedDetector<Input extends { width: number; height: number }> implements Detector {
  private readonly pixelThreshold: number;

  constructor(
    readonly info: DetectorInfo,
    private readonly inspector: Inspector<Input>,
    readonly parity: number
  ) {
    const { mapMaxima } = info.calibration;
    this.pixelThreshold = mapMaxima.length ? limitOf(PIXEL_RULE, mapMaxima) : NaN;
  }

  async score(
    images: ImageInput[],
    limits: Partial<ImageLimits>,
    options: ScoreOptions = {}
  ): Promise<(ScoreResult | GoodpartsError)[]> {
    if (this.inspector.oneByOne && images.length > 1) {
      const entries: (ScoreResult | GoodpartsError)[] = [];
      for (const [i, image] of images.entries())
        entries.push(...(await this.score([image], limits, { ...options, deadlines: [options.deadlines?.[i] ?? 0] })));
      return entries;
    }
    const start = performance.now();
    const decoded = await Promise.all(
      images.map((image, i) => refusal(options, i) ?? this.prepare(image, limits, options))
    );
    const prepared = decoded.map((p, i) => (p instanceof GoodpartsError ? p : (refusal(options, i) ?? p)));
    const ready = prepared.filter((p): p is Timed<Input> => !(p instanceof GoodpartsError));
    const backboneStart = performance.now();
    const inspect = ready.length
      ? await this.inspector.begin(
          ready.map(p => p.input),
          options.shared
        )
      : [];
    const backbone = (performance.now() - backboneStart) / ready.length;
    const results: (ScoreResult | GoodpartsError)[] = [];
    const scoreNext = async ({ input, timing }: Timed<Input>, i: number, next: Inspect) =>
      refusal(options, i) ??
      this.finish(
        input,
        full => next(full, () => check(options, i)),
        { ...timing, backbone, total: start },
        options.map ?? true
      ).catch(asEntry);
    let next = 0;
    for (const [i, p] of prepared.entries()) {
      const entry = p instanceof GoodpartsError ? p : await scoreNext(p, i, inspect[next++]);
      results.push(entry);
      options.onEntry?.(entry);
    }
    return results;
  }

  release(): Promise<void> {
    return this.inspector.release();
  }

  private async prepare(
    image: ImageInput,
    limits: Partial<ImageLimits>,
    { shared }: ScoreOptions
  ): Promise<Timed<Input> | GoodpartsError> {
    const start = performance.now();
    let picture: Picture;
    try {
      picture = await once(shared, image, decode, () => decode(image, limits));
    } catch (error) {
      return asEntry(error);
    }
    const decoded = performance.now();
    const input = await this.inspector.prepare(picture, shared);
    const timing = {
      decode: decoded - start,
      preprocess: performance.now() - decoded,
      backbone: 0,
      search: 0,
      map: 0,
      total: 0
    };
    return { input, timing };
  }

  /** Score, map and regions of one image; `timing.total` holds the start of the whole request. */
  private async finish(
    { width, height }: Input,
    inspect: (full: boolean) => Promise<Inspected>,
    timing: Milliseconds,
    wanted: boolean | 'small'
  ): Promise<ScoreResult> {
    const { name, version } = this.info;
    const start = performance.now();
    const { score, map, alignment, note, timing: inside } = await inspect(wanted === true);
    const found = map
      ? regions(map.data, map.width, map.height, this.pixelThreshold, { imageWidth: width, imageHeight: height })
      : { regions: [], damage: 0 };
    const end = performance.now();
    const known = Object.values(inside).reduce((sum, ms) => sum + ms, 0);
    const times = { ...timing, ...inside, map: end - start - known, total: end - timing.total };
    return {
      score,
      detector: { name, version },
      image: { width, height },
      ...found,
      ...(alignment && { alignment }),
      ...(note && { note }),
      timing: Object.fromEntries(Object.entries(times).map(([k, v]) => [k, Math.round(v * 100) / 100])) as Milliseconds,
      ...(wanted && map && { map: this.anomalyMap(map) })
    };
  }

  private anomalyMap({ data, width, height }: ScoreMap): AnomalyMap {
    return {
      data: Buffer.from(data.buffer, data.byteOffset, data.byteLength),
      width,
      height,
      normal: this.info.calibration.mapMedian,
      threshold: this.pixelThreshold
    };
  }
}
