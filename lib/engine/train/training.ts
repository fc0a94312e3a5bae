import { GoodpartsError } from '../errors';
import { randomStream } from '../random';
import type { Runtime } from '../runtime';
import type { TrainingProgress } from '../types';
import type { Checkpoint, Saved } from './checkpoint';
import type { Gallery } from './gallery';
import type { Method } from './method';
import { freshState, Trainer, type Feeds } from './trainer';

/** Every fifth good picture is not learned from: by its loss a training ends, and by its score the threshold is drawn. */
const HELD_OUT = 5;
const [FEWEST, MOST] = [10, 400];
/** A training ends when so large a share of its epochs has brought nothing better. */
const PATIENCE = 0.2;
/** Between two checkpoints, ms. */
const SAVE_EVERY = 15_000;

/** Epochs where nobody says how many: all pictures together come `length` times, each as often as that gives. */
export const epochsFor = (images: number, length: number): number =>
  Math.min(MOST, Math.max(FEWEST, Math.round(length / Math.max(1, images))));

/** Which pictures are learned and which are held out, by their indices; of too few none is spared, and all are both. */
export function divided(images: number): { learned: number[]; heldOut: number[] } {
  const all = Array.from({ length: images }, (_, i) => i);
  if (images < HELD_OUT) return { learned: all, heldOut: all };
  const held = (i: number): boolean => i % HELD_OUT === HELD_OUT >> 1;
  return { learned: all.filter(i => !held(i)), heldOut: all.filter(held) };
}

export interface TrainingParts {
  runtime: Runtime;
  method: Method;
  gallery: Gallery;
  checkpoint: Checkpoint;
  /** what the checkpoint says beside the state; `state` where it goes on from one */
  saved: Saved;
  seed: number;
  /** 0: by the number of pictures */
  epochs: number;
  onProgress(progress: TrainingProgress): void;
  /** throws when the training is not wanted any more */
  check(): void;
}

/** A training under way, from the pictures to the best weights. It can be paused between two steps. */
export class Training {
  private gate?: { open: () => void; closed: Promise<void> };
  private savedAt = performance.now();

  constructor(private readonly parts: TrainingParts) {}

  get paused(): boolean {
    return this.gate !== undefined;
  }

  pause(): void {
    if (this.gate) return;
    let open = (): void => {};
    const closed = new Promise<void>(resolve => (open = resolve));
    this.gate = { open, closed };
  }

  resume(): void {
    const { gate } = this;
    this.gate = undefined;
    gate?.open();
  }

  /** Trains to the end. @returns the best weights, and how it went */
  async run(): Promise<{ weights: Float32Array; progress: TrainingProgress }> {
    const { runtime, method, gallery, saved, seed } = this.parts;
    const { learned, heldOut } = divided(gallery.count);
    const epochs = this.parts.epochs || epochsFor(learned.length, method.length);
    const stepsPerEpoch = Math.ceil(learned.length / method.batch);
    const patience = Math.ceil(PATIENCE * epochs);
    const state = saved.state ?? freshState(method.task, randomStream(seed));
    // a resumed training draws other pictures than it would have, as the stream starts anew
    const random = randomStream(seed + 1 + state.curve.length);
    const next = endless(learned, random);
    const course = { rate: method.rate, epochs, stepsPerEpoch, patience };
    const trainer = await Trainer.create(runtime, method.task, course, state);
    try {
      const held = await this.heldOut(heldOut);
      const learn = async (): Promise<Feeds> => method.feeds(await this.take(() => next.next().value), true);
      while (!trainer.over) {
        await trainer.epoch(learn, held, step => this.between(trainer, epochs, step / stepsPerEpoch));
        this.report(trainer, epochs, 0);
        if (performance.now() - this.savedAt > SAVE_EVERY) await this.save(trainer);
      }
      await this.save(trainer);
      return { weights: trainer.state.best, progress: this.progress(trainer, epochs) };
    } finally {
      await trainer.release();
    }
  }

  private async between(trainer: Trainer, epochs: number, share: number): Promise<void> {
    // ONNX Runtime holds this thread during a step: what came meanwhile gets its turn here
    await new Promise(resolve => setImmediate(resolve));
    this.parts.check();
    const { gate } = this;
    if (gate) {
      await this.save(trainer);
      this.report(trainer, epochs, share);
      await gate.closed;
      this.parts.check();
    }
    this.report(trainer, epochs, share);
  }

  /** All that is held out, in portions of a batch; the last is filled up from the first. */
  private async heldOut(indices: number[]): Promise<Feeds[]> {
    const { method } = this.parts;
    const portions: Feeds[] = [];
    for (let at = 0; at < indices.length; at += method.batch) {
      let i = at;
      portions.push(await method.feeds(await this.take(() => indices[i++ % indices.length]), false));
    }
    return portions;
  }

  private async take(next: () => number): Promise<Float32Array[]> {
    const { method, gallery } = this.parts;
    const pictures: Float32Array[] = [];
    while (pictures.length < method.batch) pictures.push(await gallery.get(next()));
    return pictures;
  }

  private async save(trainer: Trainer): Promise<void> {
    const { checkpoint, saved } = this.parts;
    await checkpoint.save({ ...saved, state: trainer.state });
    this.savedAt = performance.now();
  }

  private report(trainer: Trainer, epochs: number, share: number): void {
    this.parts.onProgress(this.progress(trainer, epochs, share));
  }

  private progress(trainer: Trainer, epochs: number, share = 0): TrainingProgress {
    const { curve, over, bestEpoch } = trainer;
    return {
      epoch: curve.length,
      epochs,
      share: Math.min(1, (curve.length + share) / epochs),
      paused: this.paused && !over,
      curve,
      best: bestEpoch + 1,
      ...(over === 'early' && { stoppedEarly: true })
    };
  }
}

/** The numbers again and again, each time in another order. */
function* endless(numbers: number[], random: () => number): Generator<number, never> {
  for (;;) {
    const order = [...numbers];
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    yield* order;
  }
}

/** Pictures of a gallery, one after the other. */
export async function* picturesOf(gallery: Gallery, indices?: number[]): AsyncGenerator<Float32Array> {
  for (const index of indices ?? Array.from({ length: gallery.count }, (_, i) => i)) yield gallery.get(index);
}

export const stopped = (): GoodpartsError => new GoodpartsError('fit-aborted', 'The fit was stopped.');
