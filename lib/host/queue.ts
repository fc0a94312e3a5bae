import { GoodpartsError } from '../engine/errors';

/** What happens to a message when the queue is full. */
export type Policy = 'wait' | 'drop-oldest' | 'drop-newest' | 'error';

export interface Job {
  /** jobs of one detector go into a call together, and their results come in order */
  recipe: string;
  /** pictures in the job */
  images: number;
  /** memory that the job holds while it waits */
  bytes: number;
}

export interface QueueOptions<J extends Job> {
  policy: Policy;
  /** jobs that may wait; `wait` goes on beyond it, up to `hardBound` */
  bound: number;
  hardBound: number;
  maxBytes: number;
  /** calls under way at once */
  calls: number;
  /** pictures in one call, at most (a job with more goes alone) */
  batch: number;
  /** does the jobs of one call; gives back what delivers the results */
  work: (jobs: J[]) => Promise<() => void>;
  /** told of each job of a call whose work or delivery threw; a job that is answered already is to be left alone */
  failed: (job: J, error: Error) => void;
  /** takes back a job that the policy dropped */
  drop: (job: J) => void;
}

/** Beyond this a call gains nothing from more pictures, and handing it over would hold up the event loop. */
const CALL_BYTES = 8 * 2 ** 20;

/** Bounded queue of jobs: batches those of one detector when there is a backlog, keeps the order per detector. */
export class JobQueue<J extends Job> {
  private waiting: J[] = [];
  private bytes = 0;
  private calls = 0;
  private readonly tails = new Map<string, Promise<void>>();

  constructor(private readonly options: QueueOptions<J>) {}

  /** Jobs that wait for a call. */
  get length(): number {
    return this.waiting.length;
  }

  /** Jobs wait, more than the bound says. */
  get crowded(): boolean {
    return this.waiting.length > this.options.bound;
  }

  /** @throws GoodpartsError `queue-full` when the job is not taken */
  push(job: J): void {
    if (this.calls >= this.options.calls && this.isFull(job) && !this.makeRoom(job)) return;
    this.waiting.push(job);
    this.bytes += job.bytes;
    this.pump();
  }

  /** Takes one job out, if it still waits. */
  remove(job: J): boolean {
    const index = this.waiting.indexOf(job);
    if (index >= 0) this.take(index);
    return index >= 0;
  }

  /** Takes every waiting job out of the queue. */
  clear(): J[] {
    this.bytes = 0;
    return this.waiting.splice(0);
  }

  private isFull(job: J): boolean {
    const { policy, bound, hardBound, maxBytes } = this.options;
    const most = policy === 'wait' ? hardBound : bound;
    return this.waiting.length >= most || (this.waiting.length > 0 && this.bytes + job.bytes > maxBytes);
  }

  /** @returns whether the new job may enter now */
  private makeRoom(job: J): boolean {
    if (this.options.policy === 'drop-oldest') {
      while (this.waiting.length > 0 && this.isFull(job)) this.options.drop(this.take(0));
      return true;
    }
    if (this.options.policy === 'drop-newest') {
      this.options.drop(job);
      return false;
    }
    const waiting = this.waiting.length;
    throw new GoodpartsError('queue-full', `${waiting} images wait already and the queue is full.`, { waiting });
  }

  private take(index: number): J {
    const [job] = this.waiting.splice(index, 1);
    this.bytes -= job.bytes;
    return job;
  }

  private pump(): void {
    while (this.calls < this.options.calls && this.waiting.length > 0) this.start(this.nextBatch());
  }

  private nextBatch(): J[] {
    const jobs = [this.take(0)];
    let { images, bytes } = jobs[0];
    for (let i = 0; i < this.waiting.length && images < this.options.batch;) {
      const next = this.waiting[i];
      if (next.recipe !== jobs[0].recipe) i++;
      // a job that no longer fits ends the batch: one behind it must not overtake
      else if (images + next.images > this.options.batch || bytes + next.bytes > CALL_BYTES) break;
      else {
        images += next.images;
        bytes += next.bytes;
        jobs.push(this.take(i));
      }
    }
    return jobs;
  }

  private start(jobs: J[]): void {
    const { recipe } = jobs[0];
    this.calls++;
    const work = this.options.work(jobs).finally(() => {
      this.calls--;
      this.pump();
    });
    const before = this.tails.get(recipe) ?? Promise.resolve();
    const tail = Promise.allSettled([work, before]).then(([done]) => {
      if (this.tails.get(recipe) === tail) this.tails.delete(recipe);
      this.deliver(jobs, done);
    });
    this.tails.set(recipe, tail);
  }

  /** Never throws: an error of one call must not keep the results of the next ones back. */
  private deliver(jobs: J[], done: PromiseSettledResult<() => void>): void {
    try {
      if (done.status === 'rejected') throw done.reason;
      done.value();
    } catch (error) {
      for (const job of jobs) this.options.failed(job, error as Error);
    }
  }
}
