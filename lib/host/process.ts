import { EventEmitter } from 'node:events';
import { cancelled } from '../engine/deadline';
import { GoodpartsError } from '../engine/errors';
import type { EngineOptions, FitProgress, ScoreResult } from '../engine';
import { fromWire, fromWireScore, type Answer, type Call, type Method, type Methods } from './protocol';
import { backOff, Child } from './supervisor';

export type EngineState = 'starting' | 'ready' | 'stopped';

export interface ProcessOptions {
  /** what the process is for, in log lines */
  title: string;
  /** how much nicer than Node-RED the process is */
  priority: number;
  /** start again after a crash; default true */
  restart?: boolean;
  onProgress?: (progress: FitProgress) => void;
  /** crashes and restarts, one line each */
  log?: (text: string) => void;
}

export interface CallOptions {
  /** milliseconds; 0: as long as it takes */
  timeout: number;
  /** milliseconds without a sign of life of the process after which the call is given up; without it, any time */
  silence?: number;
  /** the call may be run a second time after a crash */
  again?: boolean;
  /** takes the call back: at once while it waits here, else the engine answers what it has scored until then */
  signal?: AbortSignal;
}

interface Request extends CallOptions {
  call: Call;
  /** crashes that this request was under way in */
  crashes: number;
  sentAt: number;
  parts: (ScoreResult | Error)[];
  timer?: NodeJS.Timeout;
  resolve: (value: never) => void;
  reject: (error: Error) => void;
}

const CRASHES_TO_GIVE_UP = 2;
/** Milliseconds within which a process that was asleep, as this one was, is heard again. */
const WAKE_MS = 3000;
/** Calls that a process answers which dies over the first real one: they do not end a row of deaths. */
const QUESTIONS = new Set<Method>(['device', 'usage']);

/**
 * The client's end of one engine process: starts it at the first call, answers every call exactly once, and starts the
 * process again when it dies. Calls that were under way in a crash and may run again do so one by one, so that an image
 * that kills the process takes no other call along.
 *
 * Emits `state` (EngineState) when the process starts, is ready, or stops, and `device` (DeviceReport) when its device has failed.
 */
export class EngineProcess extends EventEmitter {
  /** how often it died and was started again */
  restarts = 0;
  private child?: Child;
  private readonly waiting: Request[] = [];
  private readonly underway = new Map<number, Request>();
  private lastId = 0;
  private deaths = 0;
  private lastHeard = 0;
  private restartTimer?: NodeJS.Timeout;
  private ended?: GoodpartsError;

  constructor(private readonly options: ProcessOptions) {
    super();
    this.setMaxListeners(0);
  }

  get pid(): number | undefined {
    return this.child?.pid;
  }

  get state(): EngineState {
    if (!this.child) return 'stopped';
    return this.child.ready ? 'ready' : 'starting';
  }

  /** @throws GoodpartsError `engine-stopped`, `engine-timeout`, or what the engine raised */
  request<M extends Method>(
    engine: EngineOptions,
    method: M,
    args: Methods[M]['args'],
    options: CallOptions
  ): Promise<Methods[M]['value']> {
    if (this.ended) return Promise.reject(this.ended);
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(cancelled());
    let takenBack = (): void => {};
    const answer = new Promise<Methods[M]['value']>((resolve, reject) => {
      const call: Call = { id: ++this.lastId, engine, method, args };
      const request: Request = { ...options, call, crashes: 0, sentAt: 0, parts: [], resolve, reject };
      takenBack = () => this.takeBack(request);
      this.waiting.push(request);
      this.pump();
    });
    signal?.addEventListener('abort', takenBack, { once: true });
    const forget = (): void => signal?.removeEventListener('abort', takenBack);
    answer.then(forget, forget);
    return answer;
  }

  /** Ends the process; what is under way is answered with `engine-stopped`. Resolves when the process is gone. */
  async close(): Promise<void> {
    this.end(new GoodpartsError('engine-stopped', `The engine process (${this.options.title}) was closed.`));
    await this.child?.stop();
  }

  private takeBack(request: Request): void {
    const index = this.waiting.indexOf(request);
    if (index >= 0) {
      this.waiting.splice(index, 1);
      request.reject(cancelled());
    } else if (this.underway.has(request.call.id)) this.child?.send({ cancel: request.call.id });
  }

  private end(reason: GoodpartsError): void {
    this.ended ??= reason;
    clearTimeout(this.restartTimer);
    this.rejectAll(this.ended);
  }

  private pump(): void {
    if (this.ended || this.waiting.length === 0) return;
    if (!this.child) return this.start();
    while (this.waiting.length > 0 && this.mayGo(this.waiting[0])) this.dispatch(this.child, this.waiting.shift()!);
  }

  private mayGo(next: Request): boolean {
    if (this.underway.size === 0) return true;
    return next.crashes === 0 && ![...this.underway.values()].some(request => request.crashes > 0);
  }

  private start(): void {
    if (this.restartTimer) return;
    this.restartTimer = setTimeout(() => {
      this.restartTimer = undefined;
      const child: Child = new Child(
        this.options.priority,
        answer => this.onAnswer(answer),
        why => this.onExit(child, why)
      );
      this.child = child;
      this.emit('state', 'starting');
      this.pump();
    }, backOff(this.deaths));
  }

  private dispatch(child: Child, request: Request): void {
    request.sentAt = performance.now();
    request.parts = [];
    if (request.timeout > 0) request.timer = setTimeout(() => this.onTimeout(request), request.timeout);
    else if (request.silence) this.listen(request, request.silence);
    this.underway.set(request.call.id, request);
    try {
      child.send(request.call);
    } catch (error) {
      this.settle(request, () => request.reject(error as Error));
    }
  }

  private settle(request: Request, answer: () => void): void {
    clearTimeout(request.timer);
    this.underway.delete(request.call.id);
    answer();
    this.pump();
  }

  private onAnswer(answer: Answer): void {
    this.lastHeard = performance.now();
    if ('ready' in answer) {
      this.child!.ready = true;
      this.emit('state', 'ready');
    } else if ('progress' in answer) this.options.onProgress?.(answer.progress);
    else if ('alive' in answer) return;
    else if ('device' in answer) this.emit('device', answer.device);
    else this.onReply(answer);
  }

  private onReply(answer: Extract<Answer, { id: number }>): void {
    const request = this.underway.get(answer.id);
    if (!request) return;
    if (!QUESTIONS.has(request.call.method)) this.deaths = 0;
    if ('part' in answer) request.parts.push(fromWireScore(answer.part));
    else if ('error' in answer) this.settle(request, () => request.reject(fromWire(answer.error)));
    else this.settle(request, () => request.resolve((answer.value ?? request.parts) as never));
  }

  private onTimeout(request: Request): void {
    // a process that answered something since is slow, not stuck: the others under way keep their chance
    const stuck = this.lastHeard < request.sentAt;
    const seconds = request.timeout / 1000;
    const text = `The engine did not answer within ${seconds} s. If its work takes longer, raise the time limit in the model's settings.`;
    this.settle(request, () => request.reject(new GoodpartsError('engine-timeout', text, { seconds })));
    if (stuck) this.child?.kill();
  }

  /** Gives a call up when the process is not heard of for so long; then it hangs, as a device may without an error. */
  private listen(request: Request, silence: number, wait = silence, asked = false): void {
    request.timer = setTimeout(() => {
      const quiet = performance.now() - Math.max(this.lastHeard, request.sentAt);
      if (quiet < silence) this.listen(request, silence, silence - quiet);
      // it may be this process that was held, both even: what the other one says then is waited for
      else if (!asked) this.listen(request, silence, WAKE_MS, true);
      else this.giveUp(request, silence);
    }, wait);
  }

  private giveUp(request: Request, silence: number): void {
    const seconds = silence / 1000;
    const text = `The engine gave no sign of life for ${seconds} s.`;
    this.settle(request, () => request.reject(new GoodpartsError('engine-timeout', text, { seconds })));
    this.child?.kill();
  }

  private onExit(child: Child, why: string): void {
    this.child = undefined;
    this.deaths++;
    this.emit('state', 'stopped');
    if (this.ended) return;
    const error = this.crash(child, why);
    if (this.options.restart === false) return this.end(error);
    this.restarts++;
    this.options.log?.(`${error.message} It is started again.`);
    this.recover(error);
    if (!child.ready && this.deaths >= CRASHES_TO_GIVE_UP) this.rejectAll(error);
    this.start();
  }

  private crash(child: Child, why: string): GoodpartsError {
    const words = child.lastWords ? ` Its last words: ${child.lastWords}` : '';
    const text = `The engine process (${this.options.title}) stopped: ${why}.${words}`;
    return new GoodpartsError('engine-stopped', text, { why });
  }

  private recover(error: GoodpartsError): void {
    const lost = [...this.underway.values()];
    this.underway.clear();
    for (const request of lost) clearTimeout(request.timer);
    for (const request of lost) request.crashes++;
    const mayRunAgain = (request: Request) =>
      request.again && !request.signal?.aborted && request.crashes < CRASHES_TO_GIVE_UP;
    this.waiting.unshift(...lost.filter(mayRunAgain));
    for (const request of lost) if (!mayRunAgain(request)) request.reject(error);
  }

  private rejectAll(error: GoodpartsError): void {
    const all = [...this.underway.values(), ...this.waiting.splice(0)];
    this.underway.clear();
    for (const request of all) {
      clearTimeout(request.timer);
      request.reject(error);
    }
  }
}
