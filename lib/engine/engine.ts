import path from 'node:path';
import type { Lease } from './cache';
import type { Urgency } from './deadline';
import type { Detector, LoadParts } from './detector';
import { doctorChecks, type DoctorSubject } from './doctor';
import { memberSettings } from './ensemble';
import { GoodpartsError } from './errors';
import { exportOnnx } from './export';
import type { Extractor } from './features';
import { PatchCoreFit } from './fit';
import { Int8Fit, type Int8Parts } from './int8';
import { locateBackbone } from './library';
import { loadWhereItHolds } from './load';
import { fitBound, memoryCheck, memoryRoom, refusalOf, type MemoryCheck } from './memory';
import { planFit } from './plan';
import { NetworkFit } from './network/fit';
import { planNetwork } from './network/plan';
import { completeSettings } from './presets';
import type { RangeArray } from './ranges';
import { NEAREST, nearest } from './recognise';
import { Inspection } from './region';
import { ResourceOptions, Resources } from './resources';
import type { Shared } from './shared';
import type { Runtime } from './runtime';
import { checkName, DetectorStore } from './store';
import type { LimitRule } from './threshold';
import { planTraining } from './train/plan';
import { startTraining, type TrainingPlace } from './train/start';
import type {
  DetectorInfo,
  DeviceReport,
  FitPlan,
  FitProgress,
  FitResult,
  FitSettings,
  ImageInput,
  ImageLimits,
  PlanRequest,
  ScoreResult
} from './types';

export interface EngineOptions extends ResourceOptions {
  /** folder of the detector store; made when missing */
  store: string;
  /** the store whose backbones are meant where one is named by its id; default: `store` */
  backbones?: string;
  limits?: Partial<ImageLimits>;
  /** versions of a detector that stay for rollback, the current one included; 0: all */
  keepVersions?: number;
  /** MB that the process of a fit may take; default: three quarters of what is free, or of the container's limit */
  maxMemory?: number;
}

export interface FitOptions {
  /** how many will be added; default: as many as there may be */
  images?: number;
  onProgress?: (progress: FitProgress) => void;
  signal?: AbortSignal;
  /** go on with the training of this detector that was interrupted; its settings and pictures are those of then */
  resume?: boolean;
}

export interface ScoreOptions extends Urgency {
  /** a version to use instead of the current one */
  version?: string;
  /**
   * Return the anomaly map as well, default true: as large as the picture, up to 4 megapixels. `small`: no more pixels than
   * the network's input, beyond which it is only enlarged.
   */
  map?: boolean | 'small';
  /** what other detectors computed of the same pictures already */
  shared?: Shared;
  /** told of each entry as soon as it is there, in order; the call gives back all of them at its end */
  onEntry?: (entry: ScoreResult | GoodpartsError) => void;
}

/** One entry of `goodparts doctor`: what was tried and how it went. */
export interface DoctorCheck {
  what: string;
  ok: boolean;
  detail: string;
}

export interface DoctorReport {
  device: DeviceReport;
  checks: DoctorCheck[];
}

/** A fit under way: pictures go in one at a time, nothing of them but their patch embeddings is kept. */
export interface FitSession {
  readonly images: number;
  /** Decodes one good image and keeps its embeddings. A bad image throws a GoodpartsError and leaves the session as it was. */
  add(image: ImageInput): Promise<void>;
  /** Builds the bank, calibrates, saves a new version and makes it current. @throws GoodpartsError `fit-no-images`, `fit-aborted`, `store-write` */
  finish(): Promise<FitResult>;
  /** Frees everything; nothing is saved. */
  abort(): void;
  /** Holds a training between two steps; a fit that trains nothing has no such way. */
  pause?(): void;
  /** Goes on with a training that is held. */
  resume?(): void;
}

/**
 * The engine: fits detectors from images of good parts, keeps them in a store, scores images with them.
 * ONNX Runtime computes on the calling thread, so a service runs the engine in a process of its own (see lib/host).
 */
export class Engine {
  private readonly store: DetectorStore;

  /** @param resources shared with other engines of the process on the same device; default: its own */
  constructor(
    readonly options: EngineOptions,
    private readonly resources = new Resources(options)
  ) {
    this.store = new DetectorStore(path.resolve(options.store), options.keepVersions);
  }

  /**
   * Starts a fit into which images are put one by one; with a `network` they only calibrate it.
   * @throws GoodpartsError `name-invalid`, `fit-settings`, `region-empty`, `fit-memory`, `backbone-*`, `network-*`, `store-write`
   */
  async startFit(name: string, settings: FitSettings = {}, options: FitOptions = {}): Promise<FitSession> {
    checkName(name);
    const given = completeSettings(settings);
    const inspection = await Inspection.create(given.region);
    const complete = { ...given, ...(inspection && { region: inspection.region }) };
    const runtime = await this.resources.runtime();
    const { store, options: engine } = this;
    const trains = options.resume || complete.method !== 'patchcore';
    if (complete.network && !options.resume) {
      await store.checkWritable(name);
      return NetworkFit.create({ name, settings, complete, runtime, store, limits: engine.limits ?? {}, options });
    }
    if (trains)
      return startTraining({ ...(await this.place(complete)), name, store, limits: engine.limits ?? {}, options });
    const leases = await this.extractorsOf(complete);
    const [{ value: first }] = leases;
    const { size } = first;
    let note: string | undefined;
    let checkMemory: MemoryCheck;
    try {
      note = otherSize(settings, complete, first);
      await store.checkWritable(name);
      const extractors = leases.map(lease => lease.value);
      checkMemory = await memoryCheck(extractors, complete, engine.maxMemory, options.images, inspection);
      checkMemory(0, 0);
    } catch (error) {
      leases.forEach(lease => lease.release());
      throw error;
    }
    const open = (used: Lease<Extractor>[], fitOptions: FitOptions): FitSession =>
      leased(
        new PatchCoreFit({
          name,
          settings: { ...complete, inputWidth: size.width, inputHeight: size.height },
          runtime,
          extractors: used.map(lease => lease.value),
          inspection,
          store,
          limits: engine.limits ?? {},
          checkMemory,
          options: fitOptions
        }),
        () => used.forEach(lease => lease.release()),
        note
      );
    if (complete.precision === 'float32') return open(leases, options);
    const quantized: Int8Parts['quantized'] = ranges => this.extractor(complete, ranges);
    return Int8Fit.create({
      runtime,
      exact: leases[0],
      settings: complete,
      limits: engine.limits ?? {},
      options,
      quantized,
      open: (lease, fitOptions) => open([lease], fitOptions)
    });
  }

  /**
   * Fits a detector from all `images`, which are taken one at a time, and saves it as a new version.
   * @throws GoodpartsError as `startFit` and `FitSession`; the first unreadable image ends the fit
   */
  async fit(
    name: string,
    images: Iterable<ImageInput> | AsyncIterable<ImageInput>,
    settings: FitSettings = {},
    options: FitOptions = {}
  ): Promise<FitResult> {
    const session = await this.startFit(name, settings, options);
    try {
      for await (const image of images) await session.add(image);
      return await session.finish();
    } catch (error) {
      session.abort();
      throw error;
    }
  }

  /**
   * Scores images with the current version of a detector, or with `options.version`. The name `*` (NEAREST) means for each image the
   * detector that it resembles most; the result's `product` says how sure that is.
   * @returns one entry per image, in order: its result, or the error that this image alone met
   * @throws GoodpartsError `name-invalid`, `detector-*`: errors of the detector itself
   */
  async score(
    name: string,
    images: ImageInput[],
    options: ScoreOptions = {}
  ): Promise<(ScoreResult | GoodpartsError)[]> {
    if (name === NEAREST) return this.scoreByNearest(images, options);
    const detector = await this.detector(name, options.version);
    try {
      return await detector.value.score(images, this.options.limits ?? {}, options);
    } finally {
      detector.release();
    }
  }

  /** @throws GoodpartsError `detector-unknown` when no detector is fitted, or the error of the only ones there are */
  private async scoreByNearest(images: ImageInput[], options: ScoreOptions): Promise<(ScoreResult | GoodpartsError)[]> {
    const leases = await this.allDetectors();
    try {
      const detectors = leases.map(lease => lease.value);
      return await nearest(detectors, images, this.options.limits ?? {}, options);
    } finally {
      leases.forEach(lease => lease.release());
    }
  }

  /** Checks and loads a version (the current one by default), so that the first score does not wait for it. */
  async load(name: string, version?: string): Promise<DetectorInfo> {
    const detector = await this.detector(name, version);
    detector.release();
    return detector.value.info;
  }

  /** All versions of all detectors in the store, by name, newest first. */
  list(): Promise<DetectorInfo[]> {
    return this.store.list();
  }

  /** Removes one version that is not in use, or the whole detector. */
  delete(name: string, version?: string): Promise<void> {
    return this.store.delete(name, version);
  }

  /** Makes an earlier version the current one again. */
  activate(name: string, version: string): Promise<void> {
    return this.store.activate(name, version);
  }

  /** What was asked to run the graphs and what really does. */
  async device(): Promise<DeviceReport> {
    return (await this.resources.runtime()).device;
  }

  /**
   * What is installed, which device works, and whether the self-test holds there; with a subject also whether a fit could
   * start with its settings. Writes nothing.
   */
  async doctor(subject?: DoctorSubject): Promise<DoctorReport> {
    const runtime = await this.resources.runtime();
    return {
      device: runtime.device,
      checks: await Promise.all(doctorChecks(runtime, this.store.folder, this.backbones, subject))
    };
  }

  /**
   * Predicts a fit from some seconds of measurement: how long, how much memory and disk, how large and fast the detector. Saves nothing.
   * @throws GoodpartsError as `startFit`, but for `fit-memory`, which is part of the answer
   */
  async plan(settings: FitSettings, request: PlanRequest): Promise<FitPlan> {
    const complete = completeSettings(settings);
    if (complete.network) return planNetwork(await this.resources.runtime(), settings, request);
    if (complete.method !== 'patchcore') return planTraining(await this.place(complete), request);
    const inspection = await Inspection.create(complete.region);
    const leases = await this.extractorsOf(complete);
    try {
      const extractors = leases.map(lease => lease.value);
      const { width: inputWidth, height: inputHeight } = extractors[0].size;
      const fitted = { ...complete, inputWidth, inputHeight };
      const plan = await planFit(await this.resources.runtime(), extractors, fitted, request, inspection);
      const bound = await fitBound(extractors, fitted, plan.tiles, inspection);
      const refusal = refusalOf(bound, memoryRoom(this.options.maxMemory))?.message;
      return { ...plan, ...(refusal && { refusal }) };
    } finally {
      leases.forEach(lease => lease.release());
    }
  }

  /**
   * A version (the current one by default) as one ONNX model that runs without this package; see `exportOnnx`.
   * @param limit from which score on a picture is anomalous
   * @throws GoodpartsError as `load`, and `export-*`
   */
  async exportOnnx(name: string, limit: LimitRule, version?: string): Promise<Uint8Array> {
    const stored = await this.store.read(name, version ?? (await this.store.current(name)));
    const { settings } = stored.info;
    const extractor = await this.extractor(settings, stored.arrays.ranges as RangeArray | undefined);
    try {
      return await exportOnnx({ stored, extractor: extractor.value, limit });
    } finally {
      extractor.release();
    }
  }

  /** Frees everything that is loaded and not in use. */
  close(): Promise<void> {
    return this.resources.close();
  }

  private get backbones(): string {
    return this.options.backbones ?? this.store.folder;
  }

  /** By file and not by id, which may be another backbone in the store of another engine that shares the resources. */
  private async extractor(
    settings: Required<FitSettings>,
    ranges?: RangeArray,
    on?: Runtime
  ): Promise<Lease<Extractor>> {
    const backbone = await locateBackbone(settings.backbone, this.backbones);
    return this.resources.extractor({ ...settings, backbone }, ranges, on);
  }

  /**
   * Those of the backbones of a fit, one or two.
   * @throws GoodpartsError `backbone-size` where the second one cannot take pictures of the size that the first one takes
   */
  private async extractorsOf(settings: Required<FitSettings>): Promise<Lease<Extractor>[]> {
    const first = await this.extractor(settings);
    const { width, height } = first.value.size;
    const [, own] = memberSettings({ ...settings, inputWidth: width, inputHeight: height });
    if (!own) return [first];
    const second = await this.extractor(own).catch((error: unknown) => {
      first.release();
      throw error;
    });
    const { size } = second.value;
    if (size.width === width && size.height === height) return [first, second];
    [first, second].forEach(lease => lease.release());
    throw new GoodpartsError(
      'backbone-size',
      `Two backbones look at pictures of one size, but ${settings.backbone} takes ${width} x ${height} pixels and ${own.backbone} ` +
        `${size.width} x ${size.height}. Set the input size to ${size.width} x ${size.height}, or choose another second backbone.`
    );
  }

  /** The current version of each. One that cannot be loaded is left out as long as there is another. */
  private async allDetectors(): Promise<Lease<Detector>[]> {
    const names = await this.store.names();
    const leases: Lease<Detector>[] = [];
    let failure = new GoodpartsError(
      'detector-unknown',
      'There is no detector yet: fit one with images of good parts first.'
    );
    // one after the other: each load takes every core
    for (const name of names)
      await this.detector(name).then(
        lease => leases.push(lease),
        (error: GoodpartsError) => (failure = error)
      );
    if (leases.length === 0) throw failure;
    return leases;
  }

  private async place(settings: Required<FitSettings>): Promise<TrainingPlace> {
    const runtime = await this.resources.runtime();
    return { settings, runtime, maxMemory: this.options.maxMemory, extractorFor: wanted => this.extractor(wanted) };
  }

  private async detector(name: string, version?: string): Promise<Lease<Detector>> {
    const wanted = version ?? (await this.store.current(name));
    const runtime = await this.resources.runtime();
    const stamp = await this.store.stamp(name, wanted);
    const { store } = this;
    const on = (where: Runtime): LoadParts => ({
      runtime: where,
      store,
      extractorFor: (settings, ranges) => this.extractor(settings, ranges, where)
    });
    return this.resources.detector(path.join(store.folder, name), `${wanted} ${stamp}`, !version, () =>
      loadWhereItHolds(runtime, on, name, wanted)
    );
  }
}

/**
 * What to say where the backbone takes another picture size than was asked for.
 * @throws GoodpartsError `backbone-size` where its only size is not the one that was given
 */
function otherSize(
  given: FitSettings,
  wanted: Required<FitSettings>,
  { size, backbone }: Extractor
): string | undefined {
  const { inputWidth, inputHeight } = wanted;
  if (size.width === inputWidth && size.height === inputHeight) return undefined;
  const only = `${wanted.backbone} takes pictures of ${size.width} x ${size.height} pixels only`;
  const asked = given.inputWidth !== undefined || given.inputHeight !== undefined;
  if (backbone.size && asked) throw new GoodpartsError('backbone-size', `${only}; set the input size to that.`);
  const why = backbone.size ? only : `${wanted.backbone} takes multiples of ${backbone.multiple} pixels`;
  return `${why}: ${size.width} x ${size.height} is used instead of ${inputWidth} x ${inputHeight}.`;
}

/** The fit, which gives back what it was lent when it ends, and says what is to be noted. */
function leased(fit: PatchCoreFit, release: () => void, note?: string): FitSession {
  return {
    get images() {
      return fit.images;
    },
    add: image => fit.add(image),
    finish: () =>
      fit
        .finish()
        .then(result => ({ ...result, ...(note && { note }) }))
        .finally(release),
    abort: () => {
      fit.abort();
      release();
    }
  };
}
