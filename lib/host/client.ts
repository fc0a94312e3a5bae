import { GoodpartsError } from '../engine/errors';
import type {
  DetectorInfo,
  DeviceReport,
  DoctorReport,
  EngineOptions,
  FitPlan,
  FitProgress,
  FitResult,
  FitSettings,
  ImageInput,
  PlanRequest,
  ScoreResult
} from '../engine';
import type { DoctorSubject } from '../engine/doctor';
import { acquire, type Lease, type Log } from './pool';
import { EngineProcess, type CallOptions, type EngineState } from './process';
import { PRIORITY } from './supervisor';
import type { Method, Methods, ScoreRequest, Usage } from './protocol';

export interface ClientOptions {
  engine: EngineOptions;
  /** milliseconds that one call may take, from sending to answer */
  timeout: number;
  /** milliseconds without a sign of life after which a fit hangs; without it, it is waited for as long as its process is there */
  silence?: number;
  log: Log;
}

/**
 * The engine as Node-RED sees it: the methods of `Engine`, run in the score process that all clients of a device share.
 * Every method may raise `engine-stopped` (the process died twice over this call, or was closed) and `engine-timeout`.
 */
export class EngineClient {
  private readonly lease: Lease;

  constructor(private readonly options: ClientOptions) {
    this.lease = acquire(options.engine.device ?? 'auto', options.log);
  }

  /** One entry per image, in order: a result, or the error that this image alone met. `signal` takes back what is not scored yet. */
  score(
    name: string,
    images: ImageInput[],
    options?: ScoreRequest,
    signal?: AbortSignal
  ): Promise<(ScoreResult | Error)[]> {
    return this.call('score', [name, images, options], true, signal);
  }
  load(name: string, version?: string): Promise<DetectorInfo> {
    return this.call('load', [name, version], true);
  }
  list(): Promise<DetectorInfo[]> {
    return this.call('list', [], true);
  }
  async delete(name: string, version?: string): Promise<void> {
    await this.call('delete', [name, version], false);
  }
  async activate(name: string, version: string): Promise<void> {
    await this.call('activate', [name, version], true);
  }
  device(): Promise<DeviceReport> {
    return this.call('device', [], true);
  }
  doctor(subject?: DoctorSubject): Promise<DoctorReport> {
    return this.call('doctor', [subject], true);
  }

  /** What the score process uses; nothing where it does not run, for asking must not start it. */
  async usage(): Promise<Usage | undefined> {
    return this.state === 'ready' ? this.call('usage', [], false) : undefined;
  }
  /** How often the score process died and was started again. */
  get restarts(): number {
    return this.lease.process.restarts;
  }

  get state(): EngineState {
    return this.lease.process.state;
  }
  /** Process id of the score process while it runs. */
  get pid(): number | undefined {
    return this.lease.process.pid;
  }
  /** Calls back at every start, ready and stop of the process; gives back the way to end that. */
  onState(listener: (state: EngineState) => void): () => void {
    this.lease.process.on('state', listener);
    return () => void this.lease.process.off('state', listener);
  }

  /** Calls back when the device fails in the middle of work and the processor takes over; gives back the way to end that. */
  onDevice(listener: (report: DeviceReport) => void): () => void {
    this.lease.process.on('device', listener);
    return () => void this.lease.process.off('device', listener);
  }

  /** Ends this client; the process ends with its last client. */
  close(): Promise<void> {
    return this.lease.release();
  }

  private call<M extends Method>(
    method: M,
    args: Methods[M]['args'],
    again: boolean,
    signal?: AbortSignal
  ): Promise<Methods[M]['value']> {
    const { engine, timeout } = this.options;
    return this.lease.process.request(engine, method, args, { timeout, again, signal });
  }
}

/** Predicts a fit in a process of its own, as the fit will have one: its memory is part of the answer, and scoring is not held up. */
export async function planFit(
  { engine, timeout }: ClientOptions,
  settings: FitSettings,
  request: PlanRequest
): Promise<FitPlan> {
  const process = new EngineProcess({ title: 'planning a fit', priority: PRIORITY.fit, restart: false });
  try {
    return await process.request(engine, 'plan', [settings, request], { timeout });
  } finally {
    await process.close();
  }
}

export interface FitHooks {
  /** go on with the training that was interrupted */
  resume?: boolean;
  onProgress?: (progress: FitProgress) => void;
}

/**
 * A fit in a process of its own, at low priority: a crash or a full memory in it leaves scoring alone, and all that it
 * held is given back at the end.
 */
export class FitClient {
  private aborted = false;
  /** a training has begun, which leaves what it needs to go on */
  private training = false;

  private constructor(
    private readonly process: EngineProcess,
    private readonly name: string,
    private readonly options: ClientOptions,
    private readonly trains: boolean
  ) {}

  /** Starts the process and opens the session. @throws GoodpartsError when the settings cannot be used */
  static async start(
    options: ClientOptions,
    name: string,
    settings: FitSettings,
    { resume, ...hooks }: FitHooks = {}
  ): Promise<FitClient> {
    const title = `fitting ${name}`;
    const process = new EngineProcess({ title, priority: PRIORITY.fit, restart: false, ...hooks });
    const trains = resume || (settings.method ?? 'patchcore') !== 'patchcore';
    const client = new FitClient(process, name, options, trains);
    try {
      await client.call('fit.start', [name, settings, resume]);
      return client;
    } catch (error) {
      await process.close();
      throw error;
    }
  }

  /** Process id while the process runs. */
  get pid(): number | undefined {
    return this.process.pid;
  }

  /** Resolves when the process is gone, whether it was closed or died. */
  get gone(): Promise<void> {
    if (this.process.state === 'stopped') return Promise.resolve();
    return new Promise(resolve => this.process.on('state', state => state === 'stopped' && resolve()));
  }

  /**
   * @returns the number of images that the session holds now. A bad image throws and leaves the session as it was.
   * @throws GoodpartsError `engine-timeout` when it takes longer than the client's time limit, which ends the session
   */
  add(image: ImageInput): Promise<number> {
    return this.call('fit.add', [image]);
  }

  /**
   * Fits and saves a new version, and ends the process whatever the outcome. A fit takes as long as it takes.
   * @throws GoodpartsError `engine-timeout` when it hangs
   */
  async finish(): Promise<FitResult> {
    this.training = this.trains;
    try {
      return await this.call('fit.finish', [], { timeout: 0, silence: this.options.silence });
    } finally {
      await this.process.close();
    }
  }

  /** Holds the training, or lets it go on. @throws GoodpartsError `fit-settings` where nothing is trained */
  async pause(pause: boolean): Promise<void> {
    await this.call('fit.pause', [pause]);
  }

  /** Ends the process at once; nothing is saved. */
  abort(): Promise<void> {
    this.aborted = true;
    return this.process.close();
  }

  private async call<M extends Method>(
    method: M,
    args: Methods[M]['args'],
    options: CallOptions = { timeout: this.options.timeout }
  ): Promise<Methods[M]['value']> {
    try {
      return await this.process.request(this.options.engine, method, args, options);
    } catch (error) {
      if (!(error instanceof GoodpartsError)) throw error;
      if (error.code === 'engine-stopped') throw this.lost(error);
      if (error.code !== 'engine-timeout' || method === 'fit.pause') throw error;
      await this.process.close();
      throw this.hung(error);
    }
  }

  private lost(error: GoodpartsError): GoodpartsError {
    if (this.aborted)
      return new GoodpartsError('fit-aborted', `The fit of '${this.name}' was aborted; nothing of it is saved.`);
    const what = this.training ? 'training' : 'fit';
    const became = this.training ? 'was interrupted' : 'was lost and nothing of it is saved';
    const text = `The ${what} of '${this.name}' ${became}: ${this.next}. ${error.message}`;
    return new GoodpartsError('engine-stopped', text, error.details);
  }

  private hung({ message, details }: GoodpartsError): GoodpartsError {
    const what = this.training ? 'training' : 'fit';
    const mend = this.options.engine.device === 'cpu' ? '' : ' If it hangs again, set Device to cpu in the model.';
    const text = `The ${what} of '${this.name}' hung and was ended: ${this.next}. ${message}${mend}`;
    return new GoodpartsError('engine-timeout', text, details);
  }

  /** What to do after a fit that did not come to its end. */
  private get next(): string {
    return this.training ? 'send msg.resume to go on with it' : 'send the images again';
  }
}
