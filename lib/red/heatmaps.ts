import type { Node, NodeAPI, NodeMessage } from 'node-red';
import { DEFAULT_LIMITS } from '../engine/decode';
import { GoodpartsError } from '../engine/errors';
import type { AnomalyMap, ImageLimits, Region, ScoreResult } from '../engine';
import { JobQueue, type Job } from '../host/queue';
import { bytesOf, noPicture, picturesOf, readPicture } from './images';
import { mapOf } from './map';
import { mostWaiting, type Done, type Message, type Send } from './messages';
import { userFolder } from './model';
import { watched } from './part-log';
import { renderOverlay, type OverlayOptions } from './overlay/render';
import type { Size } from './overlay/size';
import { nameOf, readProperty, writeProperty, type Property } from './property';
import { Status } from './status';

export interface HeatmapOptions extends OverlayOptions {
  image: Property;
  output: Property;
  as: 'buffer' | 'datauri';
}

/** One picture, its map, and what anomaly-score said about it. */
interface Subject {
  source: unknown;
  map: AnomalyMap;
  regions: readonly Region[];
  original?: Size;
}

interface HeatmapJob extends Job {
  msg: Message;
  send: Send;
  done: Done;
  subjects: Subject[];
  many: boolean;
}

/** Messages that may wait; a picture takes some ten milliseconds. */
const MOST_WAITING = 1000;

/** The work of a heatmap node: draws the anomaly map of each message onto its picture, and sends the messages on in order. */
export class Heatmaps {
  private readonly queue: JobQueue<HeatmapJob>;
  private readonly status: Status;
  private entering: Promise<void> = Promise.resolve();

  constructor(
    private readonly RED: NodeAPI,
    private readonly node: Node,
    private readonly options: HeatmapOptions
  ) {
    const { hardBound, maxBytes } = mostWaiting(RED, MOST_WAITING);
    const work = async ([job]: HeatmapJob[]) => this.work(job);
    // 'wait' drops nothing: what does not fit is an error
    this.queue = new JobQueue<HeatmapJob>({
      policy: 'wait',
      bound: hardBound,
      hardBound,
      maxBytes,
      calls: 2,
      batch: 1,
      work,
      failed: (job, error) => this.fail(error, job.done),
      drop: () => {}
    });
    this.status = new Status(node, RED._);
  }

  /** Takes a message; it leaves on the output, or through `done(error)`. */
  input(msg: Message, send: Send, whenDone: Done): void {
    const done = watched(this.node, msg, undefined, whenDone);
    // one after the other: reading a property may be asynchronous, and messages must not overtake each other
    this.entering = this.entering
      .then(() => this.describe(msg))
      .then(what => this.queue.push({ ...what, recipe: '', images: 1, msg, send, done }))
      .catch((error: Error) => this.fail(error, done));
  }

  /** Answers what still waits with an error. */
  close(): void {
    const error = new GoodpartsError(
      'engine-stopped',
      'The node was stopped by a deploy before the picture was drawn.'
    );
    for (const job of this.queue.clear()) job.done(error);
    this.status.close();
  }

  private async describe(msg: NodeMessage) {
    const { image } = this.options;
    const value = await readProperty(this.RED, this.node, image, msg);
    const { sources, many } = picturesOf(value, msg);
    if (sources.length === 0) throw noPicture(nameOf(image), value);
    const maps = listOf(msg.anomalyMap, many);
    const results = listOf(msg.payload, many);
    if (many && msg.anomalyMap !== undefined && maps.length !== sources.length)
      throw new GoodpartsError(
        'input-missing',
        `${nameOf(image)} holds ${sources.length} pictures, but msg.anomalyMap ${maps.length} maps.`
      );
    const subjects = sources.map((source, i) => subject(source, maps[i], results[i]));
    const bytes = subjects.reduce((sum, { source, map }) => sum + bytesOf(source) + map.data.byteLength, 0);
    return { subjects, many, bytes };
  }

  private async work(job: HeatmapJob): Promise<() => void> {
    const { msg, send, done, many, subjects } = job;
    const started = Date.now();
    try {
      const overlays: (Buffer | string)[] = [];
      // one at a time: each holds the picture uncompressed several times
      for (const one of subjects) overlays.push(await this.draw(one));
      await writeProperty(this.RED, this.node, this.options.output, msg, many ? overlays : overlays[0]);
      return () => {
        this.status.text('green', 'dot', `${Date.now() - started} ms`);
        send(msg);
        done();
      };
    } catch (error) {
      return () => this.fail(error as Error, done);
    }
  }

  private async draw({ source, ...rest }: Subject): Promise<Buffer | string> {
    const limits = limitsFor(rest.original);
    const image = await readPicture(source, { limits, folders: [userFolder(this.RED)] });
    const overlay = await renderOverlay({ image, limits, ...rest }, this.options);
    if (this.options.as === 'buffer') return overlay;
    return `data:image/${this.options.format};base64,${overlay.toString('base64')}`;
  }

  private fail(error: Error, done: Done): void {
    this.status.key('red', 'ring', 'error');
    done(error);
  }
}

const listOf = (value: unknown, many: boolean): unknown[] => (!many ? [value] : Array.isArray(value) ? value : []);

/** @throws GoodpartsError `input-missing` for a map that is missing or none */
function subject(source: unknown, map: unknown, result: unknown): Subject {
  const { regions, image } = (result ?? {}) as Partial<ScoreResult>;
  return {
    source,
    map: mapOf(map, 'The heatmap'),
    regions: Array.isArray(regions) ? regions : [],
    original: image && image.width > 0 && image.height > 0 ? image : undefined
  };
}

/** A picture that the model's own limits let through is not refused here. */
function limitsFor(scored: Size = { width: 0, height: 0 }): ImageLimits {
  const pixels = scored.width * scored.height;
  return {
    maxBytes: Math.max(DEFAULT_LIMITS.maxBytes, pixels * 8),
    maxPixels: Math.max(DEFAULT_LIMITS.maxPixels, pixels),
    maxSide: Math.max(DEFAULT_LIMITS.maxSide, scored.width, scored.height)
  };
}
