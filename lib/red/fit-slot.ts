import { GoodpartsError } from '../engine/errors';
import type { FitProgress, FitResult } from '../engine';
import type { FitClient } from '../host';
import type { Fitter } from './fitter';
import { readPicture } from './images';
import { countFit } from './metrics/counts';
import { once, type Done, type Message, type Send } from './messages';

export interface FitJob {
  msg: Message;
  send: Send;
  done: Done;
  sources: unknown[];
  many: boolean;
  bytes: number;
  complete: boolean;
  /** go on with a training that was interrupted */
  resume?: boolean;
}

/**
 * The fit of one detector in one node: its messages one after the other, its session, and its end. Messages that come
 * while it fits wait, and open the next session.
 */
export class FitSlot {
  bytes = 0;
  private jobs: FitJob[] = [];
  private session?: FitClient;
  private opening?: Promise<FitClient>;
  private images = 0;
  private last?: Pick<FitJob, 'msg' | 'send'>;
  private busy = false;
  /** counts resets: work that began before one must not touch what came after */
  private round = 0;
  private idle?: NodeJS.Timeout;
  private sent = '';
  /** the process died with images in it, and the sender goes on not knowing: what comes now is no whole set */
  private lost = false;

  constructor(
    private readonly owner: Fitter,
    readonly recipe: string,
    private readonly onEmpty: () => void
  ) {}

  /** Whether there is a fit that could be paused. */
  get open(): boolean {
    return this.session !== undefined;
  }

  /** Holds the training under way, or lets it go on. @throws GoodpartsError `fit-settings` where nothing is trained */
  async pause(pause: boolean): Promise<void> {
    await this.session?.pause(pause);
  }

  /** Messages that wait. */
  get length(): number {
    return this.jobs.length;
  }

  push(job: FitJob): void {
    clearTimeout(this.idle);
    this.jobs.push(job);
    this.bytes += job.bytes;
    if (!this.busy) void this.run();
  }

  /**
   * Ends the session, and what waits with it. A message that was to end the fit gets `reason`, for it leaves with no
   * result; the images of the others are simply no longer wanted.
   */
  async reset(reason: GoodpartsError): Promise<void> {
    this.round++;
    this.lost = false;
    clearTimeout(this.idle);
    this.bytes = 0;
    for (const job of this.jobs.splice(0)) job.done(job.complete ? reason : undefined);
    await this.drop();
    if (!this.busy) this.onEmpty();
  }

  private async run(): Promise<void> {
    this.busy = true;
    for (let job = this.jobs.shift(); job; job = this.jobs.shift()) {
      this.bytes -= job.bytes;
      await this.handle(job);
    }
    this.busy = false;
    if (!this.session && !this.lost) this.onEmpty();
    else if (this.session && this.owner.options.idleSeconds > 0) this.awaitIdle();
  }

  private async handle(job: FitJob): Promise<void> {
    const { round } = this;
    try {
      const result = await this.take(job, round);
      if (result) await this.deliver(result, job.msg, job.send);
      job.done();
    } catch (error) {
      if (round !== this.round && !job.complete) job.done();
      else this.owner.fail(error as Error, job.done);
    }
  }

  private async take(job: FitJob, round: number): Promise<FitResult | undefined> {
    this.last = job;
    if (this.lost) throw this.refuse(job);
    if (job.resume) {
      await this.start(round, true);
      return this.finish();
    }
    const bad = await this.addAll(job.sources, round);
    if (bad.length > 0) throw explained(bad, job);
    const { completeAfter } = this.owner.options;
    if (job.complete || (completeAfter > 0 && this.images >= completeAfter)) return this.finish();
    return undefined;
  }

  /** @returns the errors of bad pictures; the others are in the fit. What ends the session is thrown. */
  private async addAll(sources: unknown[], round: number): Promise<GoodpartsError[]> {
    const bad: GoodpartsError[] = [];
    for (const source of sources) {
      try {
        await this.add(source, round);
      } catch (error) {
        if (!isImageError(error)) throw await this.lose(error);
        bad.push(error);
      }
    }
    // a session without a single image would keep its process for nothing
    if (this.images === 0) await this.drop();
    return bad;
  }

  private async add(source: unknown, round: number): Promise<void> {
    const image = await readPicture(source, this.owner.model.rules);
    this.ensure(round);
    const session = this.session ?? (await this.start(round));
    this.images = await session.add(image);
    this.owner.status.key('blue', 'ring', 'collecting', { count: this.images });
  }

  /** The session cannot go on: ends it, unless a reset has done so and another is open by now. */
  private async lose(error: unknown): Promise<unknown> {
    if (error instanceof GoodpartsError && error.code === 'fit-aborted') return error;
    this.noteLoss();
    await this.drop();
    return error;
  }

  /** Where a message ends the fit, it must not end one that lacks the images that went down with the process. */
  private noteLoss(): void {
    const { completeAfter, idleSeconds } = this.owner.options;
    this.lost = this.images > 0 && completeAfter === 0 && idleSeconds === 0;
  }

  /** The answer to what follows a loss, up to the message that ends the fit. */
  private refuse({ complete }: FitJob): GoodpartsError {
    if (complete) this.lost = false;
    const next = complete ? 'Send all images again.' : 'Send msg.reset, then all images again.';
    return new GoodpartsError(
      'engine-stopped',
      `The fit of '${this.recipe}' lost its images when its process stopped; nothing is saved. ${next}`
    );
  }

  /** What was begun before a reset must not go into the session after it. */
  private ensure(round: number): void {
    if (round !== this.round) throw new GoodpartsError('fit-aborted', `The fit of '${this.recipe}' was ended.`);
  }

  private async start(round: number, resume = false): Promise<FitClient> {
    this.images = 0;
    this.owner.status.key('blue', 'ring', 'loading');
    const { model, status } = this.owner;
    const { backbone } = (this.last?.msg ?? {}) as { backbone?: unknown };
    this.opening = model.startFit(
      this.recipe,
      { resume, onProgress: progress => this.onProgress(progress) },
      percent => status.key('blue', 'ring', 'downloading', { percent }),
      typeof backbone === 'string' ? backbone : undefined
    );
    try {
      const session = await this.opening;
      this.ensure(round);
      this.session = session;
      void session.gone.then(() => this.onGone(session));
      return session;
    } finally {
      this.opening = undefined;
    }
  }

  private async finish(): Promise<FitResult> {
    const { session } = this;
    if (!session) throw new GoodpartsError('fit-no-images', `There is no good image to fit '${this.recipe}' with yet.`);
    try {
      return await session.finish();
    } finally {
      if (this.session === session) this.session = undefined;
      this.images = 0;
    }
  }

  private async drop(): Promise<void> {
    const { session, opening } = this;
    this.session = undefined;
    this.images = 0;
    await session?.abort();
    await opening?.then(late => late.abort()).catch(() => {});
  }

  /** The process died between two messages: no message under way can carry the error, so one is made for it. */
  private onGone(session: FitClient): void {
    if (this.session !== session || this.busy) return;
    this.session = undefined;
    this.noteLoss();
    this.images = 0;
    clearTimeout(this.idle);
    const text = `The engine process stopped while '${this.recipe}' was being fitted; nothing is saved: send the images again.`;
    const { topic } = this.last?.msg ?? {};
    this.owner.fail(new GoodpartsError('engine-stopped', text), error => this.owner.node.error(error, { topic }));
    if (!this.lost) this.onEmpty();
  }

  private awaitIdle(): void {
    this.idle = setTimeout(() => this.finishIdle(), this.owner.options.idleSeconds * 1000);
  }

  private finishIdle(): void {
    const { msg, send } = this.last!;
    // the message itself was done with when its image was taken; its other properties go on with the result
    const done = once(this.owner.node, error => error && this.owner.node.error(error, { topic: msg.topic }));
    this.push({ msg: { ...msg }, send, done, sources: [], many: false, bytes: 0, complete: true });
  }

  private async deliver(result: FitResult, msg: Message, send: Send): Promise<void> {
    const { name, version, images } = result;
    this.owner.status.event('green', 'dot', 'fitted', { name, version, count: images });
    this.owner.model.emit('fitted', { name, version });
    countFit(name);
    for (const note of [result.note, result.device.note]) if (note) this.owner.node.warn(note);
    // what the detector was fitted with, the preset's values filled in: for whoever keeps a record of fits
    const info = await this.owner.model.info(name, version).catch(() => undefined);
    msg.payload = { ...result, ...(info && { settings: info.settings }) };
    send(this.owner.options.progress ? [msg, null] : msg);
  }

  private onProgress({ stage, done, total, training }: FitProgress): void {
    const percent = total > 0 ? Math.round((100 * done) / total) : 0;
    const { status } = this.owner;
    if (training?.paused) status.key('yellow', 'ring', 'paused', { percent });
    else if (training) status.key('blue', 'dot', 'training', { percent });
    else if (stage !== 'images') status.key('blue', 'dot', 'fitting', { percent });
    // the engine may report thousands of steps; one message a percent tells as much, and one an epoch
    const held = training ? ` ${training.epoch} ${training.paused}` : '';
    const step = `${stage} ${stage === 'images' ? done : percent}${held}`;
    if (!this.owner.options.progress || step === this.sent) return;
    this.sent = step;
    const { topic } = this.last?.msg ?? {};
    this.owner.node.send([
      null,
      { topic, recipe: this.recipe, payload: { stage, done, total, percent, ...(training && { training }) } }
    ]);
  }
}

const isImageError = (error: unknown): error is GoodpartsError =>
  error instanceof GoodpartsError && /^(image|path|input)-/.test(error.code);

/** The first bad picture's error, with what became of the rest of its message. */
function explained([error]: GoodpartsError[], { many, complete }: FitJob): Error {
  const rest = many ? ' The other good images of the message were taken.' : '';
  const open = complete ? ' The fit stays open: send msg.complete again.' : '';
  return new GoodpartsError(error.code, error.message + rest + open, error.details);
}
