import type {
  Device,
  DetectorInfo,
  DeviceReport,
  FitProgress,
  FitResult,
  FitSettings,
  ImageInput,
  ImageLimits,
  ScoreResult
} from './types';
import { GoodpartsError } from './errors';

export interface EngineOptions {
  /** folder of the detector store; made when missing */
  store: string;
  device?: Device;
  limits?: Partial<ImageLimits>;
  /** threads of one graph run; default: the machine's cores */
  threads?: number;
  /** versions of a detector that stay for rollback, the current one included; 0: all */
  keepVersions?: number;
}

export interface FitOptions {
  onProgress?: (progress: FitProgress) => void;
  signal?: AbortSignal;
}

export interface ScoreOptions {
  /** a version to use instead of the current one */
  version?: string;
  /** return the anomaly map as well; default true */
  map?: boolean;
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
  /** Builds the bank, calibrates, saves a new version and makes it current. Throws `fit-no-images` without an image. */
  finish(): Promise<FitResult>;
  /** Frees everything; nothing is saved. */
  abort(): void;
}

export class Engine {
  constructor(readonly options: EngineOptions) {}
  startFit(_name: string, _settings?: FitSettings, _options?: FitOptions): Promise<FitSession> {
    throw new GoodpartsError('engine-stopped', 'not built yet');
  }
  fit(
    _name: string,
    _images: Iterable<ImageInput> | AsyncIterable<ImageInput>,
    _settings?: FitSettings,
    _options?: FitOptions
  ): Promise<FitResult> {
    throw new GoodpartsError('engine-stopped', 'not built yet');
  }
  /** One entry per image, in order: a result, or the error that this image alone met. Errors of the detector itself are thrown. */
  score(_name: string, _images: ImageInput[], _options?: ScoreOptions): Promise<(ScoreResult | GoodpartsError)[]> {
    throw new GoodpartsError('engine-stopped', 'not built yet');
  }
  /** Checks and loads a version (the current one by default), so that the first score does not wait for it. */
  load(_name: string, _version?: string): Promise<DetectorInfo> {
    throw new GoodpartsError('engine-stopped', 'not built yet');
  }
  /** All versions of all detectors in the store, by name, newest first. */
  list(): Promise<DetectorInfo[]> {
    throw new GoodpartsError('engine-stopped', 'not built yet');
  }
  /** Removes one version, or the whole detector. */
  delete(_name: string, _version?: string): Promise<void> {
    throw new GoodpartsError('engine-stopped', 'not built yet');
  }
  /** Makes an earlier version the current one again. */
  activate(_name: string, _version: string): Promise<void> {
    throw new GoodpartsError('engine-stopped', 'not built yet');
  }
  /** What is installed, which device works, and whether the self-test holds there. */
  doctor(): Promise<DoctorReport> {
    throw new GoodpartsError('engine-stopped', 'not built yet');
  }
  close(): Promise<void> {
    throw new GoodpartsError('engine-stopped', 'not built yet');
  }
}
