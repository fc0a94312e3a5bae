/** What the engine is given and gives back, but for data, which is in types.ts. */
import type { Urgency } from './deadline';
import type { GoodpartsError } from './errors';
import type { ResourceOptions } from './resources';
import type { Shared } from './shared';
import type { DeviceReport, FitProgress, FitResult, ImageInput, ImageLimits, ScoreResult } from './types';

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
