import type { Node, NodeAPI, NodeMessage } from 'node-red';
import { cancelled, deadlineMissed } from '../engine/deadline';
import { GoodpartsError } from '../engine/errors';
import type { ImageInput, ScoreResult } from '../engine';
import { JobQueue, type Job, type Policy } from '../host/queue';
import { health } from './health';
import { bytesOf, noPicture, picturesOf, readPicture } from './images';
import { queues, type LiveQueue } from './live';
import { mostWaiting, type Done, type Message, type Send } from './messages';
import { countDrop, countScore } from './metrics/counts';
import type { Model } from './model';
import { watched } from './part-log';
import { nameOf, readProperty, type Property } from './property';
import { recipeOrNearest } from './recipe';
import { Status } from './status';
import { ScoreStatus } from './score-status';

export interface ScoreOptions {
  image: Property;
  recipe: Property;
  queue: number;
  policy: Policy;
  batch: number;
  map: boolean;
  /** milliseconds from arrival to answer; what takes longer is an error; 0: as long as it takes */
  deadline: number;
}

interface ScoreJob extends Job {
  msg: Message;
  send: Send;
  done: Done;
  sources: unknown[];
  many: boolean;
  since: number;
  /** when an answer is too late, milliseconds since 1970; 0: never */
  deadline: number;
  timer?: NodeJS.Timeout;
  /** the message left: scored, dropped, too late or with another error */
  answered?: boolean;
}

/** One picture of a job. */
interface Part {
  source: unknown;
  deadline: number;
}

/** Three: one call's pictures are in the network, the next one's are decoded, the third is on its way to or from the engine process. */
const CALLS_AT_ONCE = 3;

/** Milliseconds that counts may go by a version that was replaced; to look at its file for every part costs as much as to send the part on. */
const COUNTED_LATELY = 1000;

/** Longer than this setTimeout cannot wait. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** A picture and what the engine says of it. */
interface Scored {
  input: ImageInput;
  result: ScoreResult;
}

/** The work of an anomaly-score node: reads each message, queues it, has it scored in batches, and sends it on in order. */
export class Scorer {
  private readonly queue: JobQueue<ScoreJob>;
  private readonly status: ScoreStatus;
  private entering: Promise<void> = Promise.resolve();
  private closed = false;
  private readonly live: LiveQueue;
  /** what is in the engine process, to be taken back */
  private readonly calls = new Set<AbortController>();

  constructor(
    private readonly RED: NodeAPI,
    private readonly node: Node,
    private readonly model: Model,
    private readonly options: ScoreOptions
  ) {
    const { policy, queue, batch } = options;
    const limits = { bound: queue, ...mostWaiting(RED, queue * 10) };
    this.queue = new JobQueue<ScoreJob>({
      policy,
      calls: CALLS_AT_ONCE,
      batch,
      ...limits,
      work: jobs => this.work(jobs),
      drop: job => this.drop(job),
      failed: (job, error) => this.fail(error, this.settled(job))
    });
    this.status = new ScoreStatus(new Status(node, RED._), model, options.recipe);
    this.live = { node: node.name || node.id, waiting: () => this.queue.length, bound: queue };
    queues.add(this.live);
  }

  /** Takes a message; it leaves on an output, or through `done(error)`. */
  input(msg: Message, send: Send, whenDone: Done): void {
    const done = watched(this.node, msg, this.model.partLog, whenDone);
    const since = Date.now();
    // one after the other: reading a property may be asynchronous, and messages must not overtake each other
    this.entering = this.entering
      .then(() => this.sort(msg, send, done, since))
      .catch((error: Error) => this.fail(error, done));
  }

  /** Answers what still waits with an error, in the engine process too; what is being scored is answered when that ends. */
  close(): void {
    this.closed = true;
    queues.delete(this.live);
    this.takeBack(closedError());
    this.status.close();
  }

  /** `msg.reset`, `msg.health` and `msg.list` are no parts. */
  private async sort(msg: Message, send: Send, done: Done, since: number): Promise<void> {
    if (msg.reset) return this.reset(done);
    if (msg.list === true) return this.list(msg, send, done);
    if (msg.health !== true) return this.take(msg, send, done, since);
    // an engine that is busy takes a while to say how it is: no part waits for that
    void health().then(payload => this.answer(done, () => send([{ ...msg, payload }, null])));
  }

  /** `msg.list`: the message goes on with the detectors that there are, in the version that is in use. */
  private async list(msg: Message, send: Send, done: Done): Promise<void> {
    const current = (await this.model.list()).filter(info => info.current);
    msg.payload = current.map(({ name, version, created, images, settings: { backbone, secondBackbone } }) => ({
      name,
      version,
      created,
      images,
      backbone,
      ...(secondBackbone && { secondBackbone })
    }));
    this.answer(done, () => send([msg, null]));
  }

  /** `msg.reset`: the node is empty again. */
  private reset(done: Done): void {
    this.takeBack(cancelled());
    this.status.emptied();
    done();
  }

  private takeBack(why: Error): void {
    for (const job of this.queue.clear()) this.settled(job)(why);
    for (const call of this.calls) call.abort();
  }

  private async take(msg: Message, send: Send, done: Done, since: number): Promise<void> {
    const deadline = deadlineOf(msg, since, this.options.deadline);
    this.enter({ ...(await this.describe(msg)), msg, send, done, since, deadline });
  }

  private async describe(msg: NodeMessage) {
    const recipe = await recipeOrNearest(this.RED, this.node, this.options.recipe, msg, this.model.detector);
    const value = await readProperty(this.RED, this.node, this.options.image, msg);
    const { sources, many } = picturesOf(value, msg);
    if (sources.length === 0) throw noPicture(nameOf(this.options.image), value);
    const bytes = sources.reduce((sum: number, source) => sum + bytesOf(source), 0);
    return { recipe, sources, many, images: sources.length, bytes };
  }

  private enter(job: ScoreJob): void {
    if (this.closed) throw closedError();
    const { deadline } = job;
    if (deadline && Date.now() >= deadline) return this.late(job);
    this.queue.push(job);
    if (deadline && !job.answered)
      job.timer = setTimeout(() => this.late(job), Math.min(LONGEST_TIMER, deadline - Date.now()));
    this.status.queued(this.queue.length, this.queue.crowded);
  }

  /** The message is answered now, wherever it is; the engine is told the deadline, too, and does not begin with it any more. */
  private late(job: ScoreJob): void {
    this.queue.remove(job);
    this.fail(deadlineMissed(job.deadline), this.settled(job));
  }

  /** What answers a job, whose deadline no longer matters then. */
  private settled(job: ScoreJob): Done {
    clearTimeout(job.timer);
    job.answered = true;
    return job.done;
  }

  private drop(job: ScoreJob): void {
    const { msg, send } = job;
    const done = this.settled(job);
    msg.dropped = { reason: this.options.policy, queue: this.queue.length };
    this.status.drop();
    countDrop(job.recipe, job.images);
    this.model.partLog?.part(this.node, msg, { detector: job.recipe, verdict: 'dropped' });
    this.answer(done, () => send([null, msg]));
  }

  private async work(jobs: ScoreJob[]): Promise<() => void> {
    const started = Date.now();
    const [{ recipe }] = jobs;
    this.status.starting(recipe);
    const parts = jobs.flatMap(({ sources, deadline }) => sources.map(source => ({ source, deadline })));
    const call = new AbortController();
    this.calls.add(call);
    const all = await this.scoreAll(recipe, parts, call.signal).finally(() => this.calls.delete(call));
    const shares = jobs.map(job => ({ job, mine: all.splice(0, job.sources.length) }));
    return () => {
      for (const { job, mine } of shares)
        if (!job.answered) this.answer(this.settled(job), () => this.deliver(job, mine, started));
    };
  }

  /**
   * One call, or several where a single message brought more pictures than a call takes. Files are read call by call, so
   * that a long list of them does not fill the memory before the first is scored.
   */
  private async scoreAll(recipe: string, parts: Part[], signal: AbortSignal): Promise<(Scored | Error)[]> {
    const all: (Scored | Error)[] = [];
    for (let i = 0; i < parts.length; i += this.options.batch)
      all.push(...(await this.scoreSome(recipe, parts.slice(i, i + this.options.batch), signal)));
    return all;
  }

  private async scoreSome(recipe: string, parts: Part[], signal: AbortSignal): Promise<(Scored | Error)[]> {
    const read = await Promise.all(
      parts.map(({ source }) => readPicture(source, this.model.rules).catch((error: Error) => error))
    );
    const inputs = read.filter(one => !(one instanceof Error)) as ImageInput[];
    if (inputs.length === 0) return read as Error[];
    const deadlines = parts.flatMap(({ deadline }, i) => (read[i] instanceof Error ? [] : [deadline]));
    // what a map holds is in a small one, too, and a large one takes as long to pass on as the picture to score
    const options = { map: this.options.map && ('small' as const), deadlines };
    const { client, downloads } = this.model;
    const results = await downloads.during(
      () => client.score(recipe, inputs, options, signal),
      this.status.downloading
    );
    return read.map(input => {
      const result = input instanceof Error ? input : results.shift()!;
      return result instanceof Error ? result : { input: input as ImageInput, result };
    });
  }

  /** @throws the error of the first bad picture; one makes the whole message an error */
  private deliver(job: ScoreJob, mine: (Scored | Error)[], started: number): void {
    const { msg, many, since, send } = job;
    const scored = goodOnes(job, mine);
    const payloads = scored.map(({ result: { map: _map, timing, ...rest } }) => ({
      ...rest,
      timing: { ...timing, queue: started - since }
    }));
    msg.payload = many ? payloads : payloads[0];
    msg.image = many ? scored.map(({ input }) => input) : scored[0].input;
    // a map that came with the message belongs to another detector
    delete msg.anomalyMap;
    if (this.options.map) msg.anomalyMap = many ? scored.map(({ result }) => result.map) : scored[0].result.map;
    for (const { result } of scored) this.count(result, started - since);
    this.status.scored(scored[0].result, this.queue.length, this.queue.crowded);
    send([msg, null]);
  }

  /** Beside the message's way: nothing waits for the version's facts, nor fails for want of them. */
  private count(result: ScoreResult, queued: number): void {
    const { name, version } = result.detector;
    this.model.info(name, version, COUNTED_LATELY).then(
      info => countScore(result, queued, info),
      () => {}
    );
  }

  /** Sends a message on and is done with it, or answers with what was thrown on the way. */
  private answer(done: Done, send: () => void): void {
    try {
      send();
      done();
    } catch (error) {
      this.fail(error as Error, done);
    }
  }

  private fail(error: Error, done: Done): void {
    this.status.failed(error);
    done(error);
  }
}

/** The message's own deadline, else the node's, counted from the arrival. */
function deadlineOf(msg: Message, since: number, allowed: number): number {
  const own = (msg as { deadline?: unknown }).deadline;
  if (typeof own === 'number' && own > 0) return own;
  return allowed > 0 ? since + allowed : 0;
}

const closedError = () =>
  new GoodpartsError('engine-stopped', 'The node was stopped by a deploy before the image was scored.');

function goodOnes({ many }: ScoreJob, mine: (Scored | Error)[]): Scored[] {
  const bad = mine.findIndex(entry => entry instanceof Error);
  if (bad < 0) return mine as Scored[];
  throw many ? numbered(mine[bad] as Error, bad, mine.length) : mine[bad];
}

function numbered(error: Error, index: number, of: number): Error {
  const text = `Image ${index + 1} of ${of}: ${error.message}`;
  return error instanceof GoodpartsError ? new GoodpartsError(error.code, text, error.details) : new Error(text);
}
