import crypto from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { decodeNpy, encodeNpy } from '../npy';
import type { FitSettings } from '../types';
import { unwritable } from './gallery';
import type { EpochLoss, TrainingState } from './trainer';

/** The folder of a training under way, hidden beside the versions of its detector. */
const FOLDER = '.training';
const [STATE, PICTURES] = ['training.json', 'pictures.u8'];
const PARTS = ['weights', 'moment1', 'moment2', 'best'] as const;

interface Written {
  /** of the training that wrote it: another one may have taken the folder over since */
  id: string;
  settings: Required<FitSettings>;
  backboneSha256: string;
  images: number;
  curve: EpochLoss[];
  /** the file with weights, moments and best weights, float32 [4, P]; none before the first epoch */
  vectors?: string;
}

/** A training as it was last saved. */
export interface Saved {
  settings: Required<FitSettings>;
  backboneSha256: string;
  images: number;
  state?: TrainingState;
}

/**
 * What a training leaves on the disk as it goes, so that one that was interrupted can go on: its pictures, and from time to time the weights.
 * What is new is written beside and put in place by renaming training.json last: a kill at any moment leaves the old or the new.
 */
export class Checkpoint {
  private vectors?: string;
  /** it has been written by this training */
  private saved = false;

  private constructor(
    private readonly folder: string,
    private readonly id: string
  ) {}

  /** @param home the folder of the detector */
  static async begin(home: string): Promise<Checkpoint> {
    const folder = path.join(home, FOLDER);
    await fs.rm(folder, { recursive: true, force: true });
    return new Checkpoint(folder, crypto.randomUUID());
  }

  /** The training that was interrupted, if there is one that got as far as being saved. */
  static async resume(home: string): Promise<{ checkpoint: Checkpoint; saved: Saved } | undefined> {
    const folder = path.join(home, FOLDER);
    try {
      const written = JSON.parse(await fs.readFile(path.join(folder, STATE), 'utf8')) as Written;
      const { settings, backboneSha256, images, curve, vectors } = written;
      const state = vectors ? { ...(await readVectors(path.join(folder, vectors))), curve } : undefined;
      const checkpoint = new Checkpoint(folder, crypto.randomUUID());
      checkpoint.vectors = vectors;
      // it is this process's from now on: whoever still had it writes no more
      await checkpoint.write({ ...written, id: checkpoint.id });
      return { checkpoint, saved: { settings, backboneSha256, images, state } };
    } catch {
      return undefined;
    }
  }

  get pictures(): string {
    return path.join(this.folder, PICTURES);
  }

  /** @throws GoodpartsError `store-write` */
  async save({ settings, backboneSha256, images, state }: Saved): Promise<void> {
    if (this.saved && !(await this.mine())) return;
    const vectors = state && `epoch-${state.curve.length}.npy`;
    try {
      if (state) {
        const data = new Float32Array(PARTS.length * state.weights.length);
        PARTS.forEach((part, i) => data.set(state[part], i * state.weights.length));
        const shape = [PARTS.length, state.weights.length];
        await fs.writeFile(path.join(this.folder, vectors!), encodeNpy({ data, shape }));
      }
      await this.write({ id: this.id, settings, backboneSha256, images, curve: state?.curve ?? [], vectors });
    } catch (error) {
      throw unwritable(`its checkpoint in ${this.folder}`, error as Error);
    }
    const before = this.vectors;
    this.vectors = vectors;
    if (before && before !== vectors) await fs.rm(path.join(this.folder, before), { force: true });
  }

  /** Puts a file beside it, which goes with it. @returns its path. @throws GoodpartsError `store-write` */
  async keep(name: string, bytes: Uint8Array): Promise<string> {
    const file = path.join(this.folder, name);
    await fs.writeFile(file, bytes).catch((error: Error) => {
      throw unwritable(`the trained network in ${this.folder}`, error);
    });
    return file;
  }

  /** Removes it: the training is over, or not wanted any more. */
  async remove(): Promise<void> {
    if (!this.saved || (await this.mine())) await fs.rm(this.folder, { recursive: true, force: true });
  }

  private async mine(): Promise<boolean> {
    const text = await fs.readFile(path.join(this.folder, STATE), 'utf8').catch(() => '{}');
    return (JSON.parse(text) as Partial<Written>).id === this.id;
  }

  private async write(written: Written): Promise<void> {
    const beside = path.join(this.folder, `${STATE}-${this.id}`);
    await fs.writeFile(beside, JSON.stringify(written));
    await fs.rename(beside, path.join(this.folder, STATE));
    this.saved = true;
  }
}

async function readVectors(file: string): Promise<Omit<TrainingState, 'curve'>> {
  const { data, shape } = decodeNpy(await fs.readFile(file));
  if (!(data instanceof Float32Array) || shape[0] !== PARTS.length) throw new Error(`${file} is no checkpoint`);
  // copied, as ONNX Runtime writes into them
  const [weights, moment1, moment2, best] = PARTS.map((_, i) => data.slice(i * shape[1], (i + 1) * shape[1]));
  return { weights, moment1, moment2, best };
}

/** Whether a training of the detector was interrupted and can go on. */
export const interrupted = (home: string): Promise<boolean> =>
  fs.access(path.join(home, FOLDER, STATE)).then(
    () => true,
    () => false
  );

/** Removes what an interrupted training left. */
export const discard = (home: string): Promise<void> =>
  fs.rm(path.join(home, FOLDER), { recursive: true, force: true });
