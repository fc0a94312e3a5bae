import path from 'node:path';
import type { Lease } from './cache';
import type { DoctorReport, EngineOptions, FitOptions, FitSession, ScoreOptions } from './contracts';
import type { Detector, LoadParts } from './detector';
import { doctorChecks, type DoctorSubject } from './doctor';
import { GoodpartsError } from './errors';
import { exportOnnx } from './export';
import type { Extractor } from './features';
import { locateBackbone } from './library';
import { loadWhereItHolds } from './load';
import { fitBound, memoryRoom, refusalOf } from './memory';
import { planFit } from './plan';
import { NetworkFit } from './network/fit';
import { planNetwork } from './network/plan';
import { completeSettings } from './presets';
import type { RangeArray } from './ranges';
import { NEAREST, nearest } from './recognise';
import { Inspection } from './region';
import { Resources } from './resources';
import type { Runtime } from './runtime';
import { extractorsOf, startPatchCore, type FitPlace } from './start';
import { checkName, DetectorStore } from './store';
import type { LimitRule } from './threshold';
import { planTraining } from './train/plan';
import { startTraining } from './train/start';
import type {
  DetectorInfo,
  DeviceReport,
  FitPlan,
  FitResult,
  FitSettings,
  ImageInput,
  PlanRequest,
  ScoreResult
} from './types';

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
    const { store } = this;
    const limits = this.options.limits ?? {};
    const place = await this.place(complete);
    const start = { ...place, name, store, limits, options };
    if (options.resume) return startTraining(start);
    if (complete.network) {
      await store.checkWritable(name);
      return NetworkFit.create({ ...start, settings, complete });
    }
    return complete.method === 'patchcore'
      ? startPatchCore({ ...start, given: settings, inspection })
      : startTraining(start);
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
    const { device } = await this.resources.runtime();
    const trial = await this.resources.trial();
    // a device that was given up stays so until the engine starts again, even if it works by now
    const used = (): DeviceReport => (device.note ? device : trial.device);
    const checks = await Promise.all(doctorChecks(trial, used, this.store.folder, this.backbones, subject));
    return { device: used(), checks };
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
    const { runtime, extractorFor } = await this.place(complete);
    const leases = await extractorsOf(complete, extractorFor);
    try {
      const extractors = leases.map(lease => lease.value);
      const { width: inputWidth, height: inputHeight } = extractors[0].size;
      const fitted = { ...complete, inputWidth, inputHeight };
      const plan = await planFit(runtime, extractors, fitted, request, inspection);
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

  private async place(settings: Required<FitSettings>): Promise<FitPlace> {
    const runtime = await this.resources.runtime();
    const extractorFor: FitPlace['extractorFor'] = (wanted, ranges) => this.extractor(wanted, ranges);
    return { settings, runtime, maxMemory: this.options.maxMemory, extractorFor };
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
