import type { Lease } from './cache';
import { refusal } from './deadline';
import { decode, Picture } from './decode';
import type { ScoreOptions } from './engine';
import { GoodpartsError } from './errors';
import { Embeddings, Extractor, Prepared } from './features';
import { MapHead, createSearch, type ScoreMap, SearchHead } from './head';
import { regions } from './regions';
import type { RangeArray } from './ranges';
import type { Runtime } from './runtime';
import { checkSelfTest } from './selftest';
import type { DetectorStore, StoredDetector } from './store';
import { LimitRule, limitOf } from './threshold';
import { scan } from './tiles';
import type { AnomalyMap, ImageInput, ImageLimits, ScoreResult } from './types';

/** What marks a pixel as damaged unless the flow says otherwise: more than 99 % of the good images have nowhere in their maps. */
export const PIXEL_RULE: LimitRule = { method: 'percentile', value: 99 };

type Milliseconds = ScoreResult['timing'];
type PreparedImage = Prepared & { timing: Milliseconds };

/** A detector version loaded on a device. */
export class Detector {
  private readonly pixelThreshold: number;

  private constructor(
    readonly stored: StoredDetector,
    private readonly extractor: Lease<Extractor>,
    private readonly search: SearchHead,
    private readonly map: MapHead,
    /** difference found by the self-test */
    readonly parity: number
  ) {
    this.pixelThreshold = limitOf(PIXEL_RULE, stored.info.calibration.mapMaxima);
  }

  /**
   * Reads and checks a version, loads it and repeats its self-test.
   * @throws GoodpartsError `detector-unknown`, `detector-damaged`, `detector-backbone`, `detector-parity`
   */
  static async load(
    runtime: Runtime,
    store: DetectorStore,
    name: string,
    version: string,
    extractorFor: (settings: StoredDetector['info']['settings'], ranges?: RangeArray) => Promise<Lease<Extractor>>
  ): Promise<Detector> {
    const { settings, dimensions, backboneSha256, selfTest } = await store.info(name, version);
    // side by side: the bank is read and hashed in other threads while the backbone is loaded in this one
    const reading = store.read(name, version);
    reading.catch(() => {});
    const ranges = settings.precision === 'int8' ? ((await reading).arrays.ranges as RangeArray) : undefined;
    const extractor = await extractorFor(settings, ranges);
    try {
      const stored = await reading;
      if (extractor.value.backbone.sha256 !== backboneSha256)
        throw new GoodpartsError(
          'detector-backbone',
          `The backbone ${settings.backbone} is not the file that "${name}" ${version} was fitted with; restore it, or fit again.`
        );
      const search = await createSearch(
        runtime,
        stored.arrays.bank.data as Float32Array,
        dimensions,
        settings,
        stored.arrays
      );
      const map = await MapHead.create(runtime);
      const parts = { extractor: extractor.value, search, map, settings };
      const parity = await checkSelfTest(parts, stored.arrays, selfTest.score, runtime.device.used);
      // the bank is on the device now
      return new Detector({ info: stored.info, arrays: {} }, extractor, search, map, parity);
    } catch (error) {
      extractor.release();
      throw error;
    }
  }

  /**
   * One entry an image: its result, or its own error. Pictures are decoded side by side and share one run of the backbone. An image that
   * is too late or taken back is left out at the next stage.
   */
  async score(
    images: ImageInput[],
    limits: Partial<ImageLimits>,
    options: ScoreOptions = {}
  ): Promise<(ScoreResult | GoodpartsError)[]> {
    const start = performance.now();
    if (this.stored.info.settings.tile) return this.scoreTiled(images, limits, options);
    const decoded = await Promise.all(images.map((image, i) => refusal(options, i) ?? this.prepare(image, limits)));
    const prepared = decoded.map((p, i) => (p instanceof GoodpartsError ? p : (refusal(options, i) ?? p)));
    const ready = prepared.filter((p): p is PreparedImage => !(p instanceof GoodpartsError));
    const backboneStart = performance.now();
    const embeddings = ready.length ? await this.extractor.value.embed(ready.map(p => p.input)) : undefined;
    const backbone = (performance.now() - backboneStart) / ready.length;
    const results: (ScoreResult | GoodpartsError)[] = [];
    const scoreNext = async (p: PreparedImage, i: number, patches: number) =>
      refusal(options, i) ??
      this.finish(p, embeddings!, patches, { ...p.timing, backbone, total: start }, options.map ?? true);
    let next = 0;
    for (const [i, p] of prepared.entries()) {
      const entry = p instanceof GoodpartsError ? p : await scoreNext(p, i, next++);
      results.push(entry);
      options.onEntry?.(entry);
    }
    return results;
  }

  /** As `score`, one picture after the other: each is held once, and a few of its tiles. */
  private async scoreTiled(
    images: ImageInput[],
    limits: Partial<ImageLimits>,
    options: ScoreOptions
  ): Promise<(ScoreResult | GoodpartsError)[]> {
    const { search, map } = this;
    const parts = { extractor: this.extractor.value, search, map, settings: this.stored.info.settings };
    const results: (ScoreResult | GoodpartsError)[] = [];
    for (const [i, image] of images.entries()) {
      const refused = (): GoodpartsError | undefined => refusal(options, i);
      const inspect = async (): Promise<ScoreResult | GoodpartsError> => {
        const start = performance.now();
        const picture = refused() ?? (await readPicture(image, limits));
        if (picture instanceof GoodpartsError) return picture;
        const timing = { decode: performance.now() - start, total: start };
        const found = refused() ?? (await scan(parts, picture, (options.map ?? true) === true, refused));
        if (found instanceof GoodpartsError) return found;
        return this.result(picture, found.score, found.map, { ...timing, ...found.timing }, options.map ?? true);
      };
      const entry = await inspect();
      results.push(entry);
      options.onEntry?.(entry);
    }
    return results;
  }

  async release(): Promise<void> {
    this.extractor.release();
    await Promise.all([this.search.release(), this.map.release()]);
  }

  private async prepare(image: ImageInput, limits: Partial<ImageLimits>): Promise<PreparedImage | GoodpartsError> {
    const start = performance.now();
    const picture = await readPicture(image, limits);
    if (picture instanceof GoodpartsError) return picture;
    const decoded = performance.now();
    const prepared = await this.extractor.value.prepare(picture);
    const timing = {
      decode: decoded - start,
      preprocess: performance.now() - decoded,
      backbone: 0,
      search: 0,
      map: 0,
      total: 0
    };
    return { ...prepared, timing };
  }

  /** Search, map and regions of one image; `timing.total` holds the start of the whole request. */
  private async finish(
    p: Prepared,
    embeddings: Embeddings,
    index: number,
    timing: Milliseconds,
    wanted: boolean | 'small'
  ): Promise<ScoreResult> {
    const { settings } = this.stored.info;
    const searchStart = performance.now();
    const { distances, score } = await this.search.search(embeddings.patches[index]);
    const mapStart = performance.now();
    const map = await this.map.inOriginal(distances, embeddings, settings, p.window, p, wanted === true);
    const times = { ...timing, search: mapStart - searchStart, map: performance.now() - mapStart };
    return this.result(p, score, map, times, wanted);
  }

  /** What is told of an image; finding the regions counts as part of the map. */
  private result(
    p: { width: number; height: number },
    score: number,
    map: ScoreMap,
    timing: Milliseconds,
    wanted: boolean | 'small'
  ): ScoreResult {
    const { info } = this.stored;
    const { calibration } = info;
    const start = performance.now();
    const found = regions(map.data, map.width, map.height, this.pixelThreshold, {
      imageWidth: p.width,
      imageHeight: p.height
    });
    const end = performance.now();
    const times = { ...timing, map: timing.map + end - start, total: end - timing.total };
    const anomalyMap: AnomalyMap = {
      data: Buffer.from(map.data.buffer, map.data.byteOffset, map.data.byteLength),
      width: map.width,
      height: map.height,
      normal: calibration.mapMedian,
      threshold: this.pixelThreshold
    };
    return {
      score,
      detector: { name: info.name, version: info.version },
      image: { width: p.width, height: p.height },
      regions: found.regions,
      damage: found.damage,
      timing: Object.fromEntries(Object.entries(times).map(([k, v]) => [k, Math.round(v * 100) / 100])) as Milliseconds,
      ...(wanted && { map: anomalyMap })
    };
  }
}

/** The picture, or why it cannot be read. */
async function readPicture(image: ImageInput, limits: Partial<ImageLimits>): Promise<Picture | GoodpartsError> {
  try {
    return await decode(image, limits);
  } catch (error) {
    if (error instanceof GoodpartsError) return error;
    throw error;
  }
}
