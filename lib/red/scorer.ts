import type { Node, NodeAPI, NodeMessage } from 'node-red';
import { GoodpartsError } from '../engine/errors';
import type { ImageInput, ScoreResult } from '../engine';
import { JobQueue, type Job, type Policy } from '../host/queue';
import { bytesOf, noPicture, picturesOf, readPicture } from './images';
import { mostWaiting, type Done, type Message, type Send } from './messages';
import type { Model } from './model';
import { nameOf, readProperty, type Property } from './property';
import { recipeOf } from './recipe';
import { Status } from './status';
import { ScoreStatus } from './score-status';

export interface ScoreOptions {
  image: Property;
  recipe: Property;
  queue: number;
  policy: Policy;
  batch: number;
  map: boolean;
}

interface ScoreJob extends Job {
  msg: Message;
  send: Send;
  done: Done;
  sources: unknown[];
  many: boolean;
  since: number;
}

type Outcome = { job: ScoreJob; inputs: ImageInput[]; results: ScoreResult[] } | { job: ScoreJob; error: Error };

/** The work of an anomaly-score node: reads each message, queues it, has it scored in batches, and sends it on in order. */
export class Scorer {
  private readonly queue: JobQueue<ScoreJob>;
  private readonly status: ScoreStatus;
  private entering: Promise<void> = Promise.resolve();
  private closed = false;

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
      batch,
      ...limits,
      work: jobs => this.work(jobs),
      drop: job => this.drop(job)
    });
    this.status = new ScoreStatus(new Status(node, RED._), model, options.recipe);
  }

  /** Takes a message; it leaves on an output, or through `done(error)`. */
  input(msg: Message, send: Send, done: Done): void {
    const since = Date.now();
    // one after the other: reading a property may be asynchronous, and messages must not overtake each other
    this.entering = this.entering
      .then(() => this.describe(msg))
      .then(what => this.enter({ ...what, msg, send, done, since }))
      .catch((error: Error) => this.fail(error, done));
  }

  /** Answers what still waits with an error; what is in the engine is answered when that ends. */
  close(): void {
    this.closed = true;
    for (const job of this.queue.clear()) job.done(closedError());
    this.status.close();
  }

  private async describe(msg: NodeMessage) {
    const recipe = await recipeOf(this.RED, this.node, this.options.recipe, msg, this.model.detector);
    const value = await readProperty(this.RED, this.node, this.options.image, msg);
    const { sources, many } = picturesOf(value, msg);
    if (sources.length === 0) throw noPicture(nameOf(this.options.image), value);
    const bytes = sources.reduce((sum: number, source) => sum + bytesOf(source), 0);
    return { recipe, sources, many, images: sources.length, bytes };
  }

  private enter(job: ScoreJob): void {
    if (this.closed) throw closedError();
    this.queue.push(job);
    this.status.queued(this.queue.length, this.queue.crowded);
  }

  private drop({ msg, send, done }: ScoreJob): void {
    msg.dropped = { reason: this.options.policy, queue: this.queue.length };
    this.status.drop();
    send([null, msg]);
    done();
  }

  private async work(jobs: ScoreJob[]): Promise<() => void> {
    const started = Date.now();
    this.status.starting(jobs[0].recipe);
    const read = await Promise.all(jobs.map(job => this.read(job)));
    const outcomes = await this.score(jobs[0].recipe, read);
    return () => {
      for (const outcome of outcomes)
        if ('error' in outcome) this.fail(outcome.error, outcome.job.done);
        else this.deliver(outcome, started);
    };
  }

  private async read(job: ScoreJob): Promise<Outcome> {
    try {
      const inputs = await Promise.all(job.sources.map(source => readPicture(source, this.model.rules)));
      return { job, inputs, results: [] };
    } catch (error) {
      return { job, error: error as Error };
    }
  }

  private async score(recipe: string, read: Outcome[]): Promise<Outcome[]> {
    const inputs = read.flatMap(outcome => ('error' in outcome ? [] : outcome.inputs));
    try {
      const results = await this.scoreAll(recipe, inputs);
      return read.map(outcome => ('error' in outcome ? outcome : share(outcome, results)));
    } catch (error) {
      return read.map(outcome => ('error' in outcome ? outcome : { job: outcome.job, error: error as Error }));
    }
  }

  /** One call, or several where a single message brought more pictures than a call takes. */
  private async scoreAll(recipe: string, inputs: ImageInput[]): Promise<(ScoreResult | Error)[]> {
    const results: (ScoreResult | Error)[] = [];
    for (let i = 0; i < inputs.length; i += this.options.batch) {
      const some = inputs.slice(i, i + this.options.batch);
      results.push(...(await this.model.client.score(recipe, some, { map: this.options.map })));
    }
    return results;
  }

  private deliver({ job, inputs, results }: Extract<Outcome, { results: unknown }>, started: number): void {
    const { msg, many, since, send, done } = job;
    const payloads = results.map(({ map: _map, timing, ...rest }) => ({
      ...rest,
      timing: { ...timing, queue: started - since }
    }));
    msg.payload = many ? payloads : payloads[0];
    msg.image = many ? inputs : inputs[0];
    // a map that came with the message belongs to another detector
    delete msg.anomalyMap;
    if (this.options.map) msg.anomalyMap = many ? results.map(result => result.map) : results[0].map;
    this.status.scored(results[0], this.queue.length, this.queue.crowded);
    send([msg, null]);
    done();
  }

  private fail(error: Error, done: Done): void {
    this.status.failed(error);
    done(error);
  }
}

const closedError = () =>
  new GoodpartsError('engine-stopped', 'The node was stopped by a deploy before the image was scored.');

/** Takes a message's share off the front of the results; one bad picture makes it an error. */
function share(outcome: Extract<Outcome, { results: unknown }>, all: (ScoreResult | Error)[]): Outcome {
  const { job, inputs } = outcome;
  const mine = all.splice(0, inputs.length);
  const bad = mine.findIndex(entry => entry instanceof Error);
  if (bad < 0) return { job, inputs, results: mine as ScoreResult[] };
  return { job, error: job.many ? numbered(mine[bad] as Error, bad, mine.length) : (mine[bad] as Error) };
}

function numbered(error: Error, index: number, of: number): Error {
  const text = `Image ${index + 1} of ${of}: ${error.message}`;
  return error instanceof GoodpartsError ? new GoodpartsError(error.code, text, error.details) : new Error(text);
}
