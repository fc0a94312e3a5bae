import type { Node, NodeAPI } from 'node-red';
import { GoodpartsError } from '../engine/errors';
import { FitSlot } from './fit-slot';
import { bytesOf, noPicture, picturesOf } from './images';
import { mostWaiting, once, type Done, type Message, type Send } from './messages';
import { countError } from './metrics/counts';
import type { Model } from './model';
import { nameOf, readProperty, type Property } from './property';
import { recipeOf } from './recipe';
import { Status } from './status';

export interface FitOptions {
  image: Property;
  recipe: Property;
  /** fit as soon as this many images are in; 0: off */
  completeAfter: number;
  /** fit when no message has come for so long; 0: off */
  idleSeconds: number;
  /** progress messages on a second output */
  progress: boolean;
}

/** Detectors that one node may fit at a time: each is a process, and a wrong recipe property must not start hundreds. */
const MOST_FITS = 8;
const MOST_WAITING = 1000;

/** The work of an anomaly-fit node: sorts messages by detector; a FitSlot collects and fits each. */
export class Fitter {
  readonly status: Status;
  private readonly slots = new Map<string, FitSlot>();
  private entering: Promise<void> = Promise.resolve();
  private closed = false;

  constructor(
    private readonly RED: NodeAPI,
    readonly node: Node,
    readonly model: Model,
    readonly options: FitOptions
  ) {
    this.status = new Status(node, RED._);
    void this.noteInterrupted();
  }

  /** Takes a message; `done` is called when its images are in the fit, or, where it ends the fit, when that has ended. */
  input(msg: Message, send: Send, whenDone: Done): void {
    const done = once(this.node, whenDone);
    this.entering = this.entering
      .then(() => this.enter(msg, send, done))
      .catch((error: Error) => this.fail(error, done));
  }

  /** Ends every fit under way; nothing of them is saved. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all([...this.slots.values()].map(slot => slot.reset(closedError())));
    this.status.close();
  }

  fail(error: Error, done: Done): void {
    this.status.key('red', 'ring', 'error');
    countError('anomaly-fit', error);
    done(error);
  }

  private async enter(msg: Message, send: Send, done: Done): Promise<void> {
    if (this.closed) throw closedError();
    if (msg.reset) return this.reset(msg, done);
    const recipe = await recipeOf(this.RED, this.node, this.options.recipe, msg, this.model.detector);
    if (msg.pause === true || msg.resume === true) return this.hold(recipe, msg, send, done);
    const value = await readProperty(this.RED, this.node, this.options.image, msg);
    const { sources, many } = picturesOf(value, msg);
    const complete = msg.complete === true;
    if (sources.length === 0 && !complete) throw noPicture(nameOf(this.options.image), value);
    const bytes = sources.reduce((sum: number, source) => sum + bytesOf(source), 0);
    this.checkRoom(bytes);
    this.slot(recipe).push({ msg, send, done, sources, many, bytes, complete });
  }

  private checkRoom(bytes: number): void {
    const { hardBound, maxBytes } = mostWaiting(this.RED, MOST_WAITING);
    let [waiting, held] = [0, 0];
    for (const slot of this.slots.values()) [waiting, held] = [waiting + slot.length, held + slot.bytes];
    if (waiting < hardBound && (waiting === 0 || held + bytes <= maxBytes)) return;
    throw new GoodpartsError('queue-full', `${waiting} messages wait for the fit already; send them more slowly.`);
  }

  private slot(recipe: string): FitSlot {
    const known = this.slots.get(recipe);
    if (known) return known;
    if (this.slots.size >= MOST_FITS)
      throw new GoodpartsError('queue-full', `This node fits ${MOST_FITS} detectors already; '${recipe}' must wait.`);
    const slot = new FitSlot(this, recipe, () => this.slots.delete(recipe));
    this.slots.set(recipe, slot);
    return slot;
  }

  /** Pauses a training, or goes on: with one that is paused, or with one that a restart of Node-RED interrupted. */
  private async hold(recipe: string, msg: Message, send: Send, done: Done): Promise<void> {
    const slot = this.slots.get(recipe);
    if (slot?.open) {
      await slot.pause(msg.pause === true);
      return done();
    }
    if (msg.pause === true) throw new GoodpartsError('fit-settings', `There is no training of '${recipe}' to pause.`);
    this.slot(recipe).push({ msg, send, done, sources: [], many: false, bytes: 0, complete: true, resume: true });
  }

  /** What a restart interrupted is said, as nobody asked for it yet. */
  private async noteInterrupted(): Promise<void> {
    const { detector } = this.model;
    if (!detector || !(await this.model.interrupted(detector)) || this.closed || this.slots.size > 0) return;
    this.status.key('yellow', 'ring', 'interrupted');
    this.node.warn(
      `The training of '${detector}' was interrupted: send msg.resume to go on with it, or msg.reset to forget it.`
    );
  }

  /** Resets the message's detector where the message names one, else all of the node's. */
  private async reset(msg: Message, done: Done): Promise<void> {
    const named = await recipeOf(this.RED, this.node, this.options.recipe, msg, this.model.detector).catch(
      () => undefined
    );
    const slots = [...this.slots].flatMap(([name, slot]) => (named === undefined || named === name ? [slot] : []));
    await Promise.all(slots.map(slot => slot.reset(abortedError(slot.recipe))));
    const forgotten = new Set([...slots.map(slot => slot.recipe), ...[named ?? this.model.detector].filter(Boolean)]);
    await Promise.all([...forgotten].map(name => this.model.forgetTraining(name)));
    this.status.event('grey', 'ring', 'aborted');
    done();
  }
}

const abortedError = (name: string) =>
  new GoodpartsError('fit-aborted', `The fit of '${name}' was reset; nothing is saved.`);
const closedError = () => new GoodpartsError('fit-aborted', 'The fit was ended by a deploy; nothing of it is saved.');
