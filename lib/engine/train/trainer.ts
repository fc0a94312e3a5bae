import type { Data, Runtime, Session } from '../runtime';
import { lossGraph, stepGraph, type Task } from './step';

/** What of the pictures one step is given, by the names of the task's inputs. */
export type Feeds = Record<string, Data>;

export interface Course {
  /** learning rate at the start; it falls to a hundredth of it along a half cosine */
  rate: number;
  epochs: number;
  stepsPerEpoch: number;
  /** epochs without a better held-out loss after which it ends early; 0: never */
  patience: number;
}

/** Losses of one epoch: the mean over its steps, and of the pictures held out after it. */
export interface EpochLoss {
  loss: number;
  heldOut: number;
}

/** Everything that is needed to go on with a training after the end of an epoch. Vectors are [P]. */
export interface TrainingState {
  weights: Float32Array;
  moment1: Float32Array;
  moment2: Float32Array;
  /** the weights with the smallest held-out loss so far */
  best: Float32Array;
  curve: EpochLoss[];
}

const VECTORS = ['weights', 'moment1', 'moment2'] as const;
type Vectors = Record<(typeof VECTORS)[number], Float32Array>;

/** Trains a network epoch by epoch on ONNX Runtime: each step gives new weights and new moments of Adam. */
export class Trainer {
  private vectors: Vectors;
  private best: Float32Array;
  readonly curve: EpochLoss[];

  private constructor(
    private readonly task: Task,
    private readonly course: Course,
    private readonly step: Session,
    private readonly loss: Session,
    { weights, moment1, moment2, best, curve }: TrainingState
  ) {
    this.vectors = { weights, moment1, moment2 };
    this.best = best;
    this.curve = curve;
  }

  /** @param from the state to go on from, which is the trainer's from now on */
  static async create(runtime: Runtime, task: Task, course: Course, from: TrainingState): Promise<Trainer> {
    // the weights come as one vector, which WebGPU does not split into so many parts
    const where = runtime.device.used === 'webgpu' ? 'processor' : 'device';
    const [step, loss] = [await runtime.session(stepGraph(task), where), await runtime.session(lossGraph(task), where)];
    return new Trainer(task, course, step, loss, from);
  }

  get state(): TrainingState {
    return { ...this.vectors, best: this.best, curve: this.curve };
  }

  /** Why it is over, if it is. */
  get over(): 'epochs' | 'early' | undefined {
    const { epochs, patience } = this.course;
    if (patience && this.curve.length - 1 - this.bestEpoch >= patience) return 'early';
    return this.curve.length >= epochs ? 'epochs' : undefined;
  }

  /** The epoch, counted from 0, whose weights are the best; -1 before the first. */
  get bestEpoch(): number {
    return this.curve.reduce((best, { heldOut }, i) => (best < 0 || heldOut < this.curve[best].heldOut ? i : best), -1);
  }

  /**
   * @param learn pictures for a step, whatever comes next
   * @param heldOut all that is held out, in as many portions
   * @param between called before each step; waits or throws to pause or stop. An epoch that was broken off leaves the state unusable.
   */
  async epoch(
    learn: () => Promise<Feeds>,
    heldOut: Feeds[],
    between: (step: number) => Promise<void>
  ): Promise<EpochLoss> {
    const { stepsPerEpoch } = this.course;
    let sum = 0;
    for (let i = 0; i < stepsPerEpoch; i++) {
      await between(i);
      sum += await this.take(await learn(), this.curve.length * stepsPerEpoch + i);
    }
    const { weights } = this.vectors;
    let held = 0;
    for (const feeds of heldOut) {
      const found = await this.loss.run({ ...feeds, weights: this.vector(weights) });
      held += found.loss.data[0] / heldOut.length;
    }
    const entry = { loss: sum / stepsPerEpoch, heldOut: held };
    this.curve.push(entry);
    if (this.bestEpoch === this.curve.length - 1) this.best.set(weights);
    return entry;
  }

  async release(): Promise<void> {
    await Promise.all([this.step.release(), this.loss.release()]);
  }

  /** One step, the `done`-th of all. @returns the loss before it */
  private async take(feeds: Feeds, done: number): Promise<number> {
    const { rate, epochs, stepsPerEpoch } = this.course;
    const share = done / (epochs * stepsPerEpoch);
    const falling = rate * (0.01 + 0.99 * 0.5 * (1 + Math.cos(Math.PI * share)));
    const found = await this.step.run({
      ...feeds,
      ...Object.fromEntries(VECTORS.map(name => [name, this.vector(this.vectors[name])])),
      step: scalar(done + 1),
      rate: scalar(falling)
    });
    this.vectors = Object.fromEntries(VECTORS.map(name => [name, found[`${name}_next`].data])) as Vectors;
    return found.loss.data[0];
  }

  private vector(data: Float32Array): Data {
    return { data, dims: [this.task.parameters.size] };
  }
}

const scalar = (x: number): Data => ({ data: Float32Array.of(x), dims: [] });

/** A training that has not begun. */
export function freshState({ parameters }: Task, random: () => number): TrainingState {
  const weights = parameters.initial(random);
  const zeros = (): Float32Array => new Float32Array(parameters.size);
  return { weights, moment1: zeros(), moment2: zeros(), best: weights.slice(), curve: [] };
}
