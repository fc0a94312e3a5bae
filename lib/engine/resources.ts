import os from 'node:os';
import { Lease, LeaseCache } from './cache';
import type { Detector } from './detector';
import { Extractor, extractorKey } from './features';
import type { RangeArray } from './ranges';
import { Runtime } from './runtime';
import type { Device, DeviceReport, FitSettings } from './types';

export interface ResourceOptions {
  device?: Device;
  /** threads of one graph run; default: the machine's cores */
  threads?: number;
  /** detectors that stay loaded at the same time; default 16 */
  maxLoaded?: number;
  /** told when the device fails in the middle of work and the processor takes over */
  onDevice?: (report: DeviceReport) => void;
}

/** What costs memory on a device: the runtime, backbones and loaded detectors. Engines of one process share it. */
export class Resources {
  private runtimeMade: Promise<Runtime> | undefined;
  private readonly extractors = new LeaseCache<Extractor>(2, e => e.release());
  private readonly detectors: LeaseCache<Detector>;

  constructor(private readonly options: ResourceOptions) {
    this.detectors = new LeaseCache<Detector>(options.maxLoaded ?? 16, d => d.release());
  }

  runtime(): Promise<Runtime> {
    const { device, threads = os.availableParallelism(), onDevice } = this.options;
    this.runtimeMade ??= Runtime.create(device, threads, onDevice);
    return this.runtimeMade;
  }

  /** A runtime of its own on the same device, to try things out: what fails on it takes the device from nobody else. */
  trial(): Promise<Runtime> {
    const { device, threads = os.availableParallelism() } = this.options;
    return Runtime.create(device, threads);
  }

  /** @param on where it is to compute; default: the runtime's device */
  async extractor(settings: Required<FitSettings>, ranges?: RangeArray, on?: Runtime): Promise<Lease<Extractor>> {
    const runtime = on ?? (await this.runtime());
    const key = `${runtime.device.used} ${extractorKey(settings, ranges)}`;
    return this.extractors.acquire(key, () => Extractor.create(runtime, settings, ranges));
  }

  /**
   * A loaded version of a detector. The one in use takes the place of those before it: a line that is fitted anew every day must
   * not fill the memory with what nobody asks for any more.
   * @param home identifies the detector (its folder), `version` the version and its files
   */
  async detector(
    home: string,
    version: string,
    inUse: boolean,
    load: () => Promise<Detector>
  ): Promise<Lease<Detector>> {
    const key = `${home}\n${version}`;
    const lease = await this.detectors.acquire(key, load);
    if (inUse) this.detectors.expire(other => other.startsWith(`${home}\n`) && other !== key);
    return lease;
  }

  /** Frees everything that is not in use. */
  async close(): Promise<void> {
    await this.detectors.clear();
    await this.extractors.clear();
  }
}
