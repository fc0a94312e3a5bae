/** What the tests of the nodes and of the engine process share: small pictures, store folders, flows. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import zlib from 'node:zlib';
import type { Node, NodeAPI, NodeMessage } from 'node-red';
import { FitClient, type ClientOptions } from '../../lib/host';
import anomalyFit from '../../nodes/anomaly-fit/anomaly-fit';
import anomalyModel from '../../nodes/anomaly-model/anomaly-model';
import anomalyScore from '../../nodes/anomaly-score/anomaly-score';
import heatmap from '../../nodes/heatmap/heatmap';
import threshold from '../../nodes/threshold/threshold';
import * as support from '../support';

type NodeModule = (RED: NodeAPI) => void;
interface Helper {
  settings(settings: object): void;
  startServer(): Promise<void>;
  stopServer(): Promise<void>;
  load(nodes: NodeModule[], flow: object[]): Promise<void>;
  unload(): Promise<void>;
  setFlows(flow: object[], type?: string): Promise<void>;
  getNode(id: string): Node;
  /** a spy on the log of the flow that is loaded */
  log(): { args: { type: string; level: number; msg: string }[][] };
  request(): { get(path: string): Answering; post(path: string): Answering };
}
interface Answering extends Promise<{ status: number; body: unknown }> {
  send(body: object): Answering;
  query(query: object): Answering;
  set(header: string, value: string): Answering;
}
// eslint-disable-next-line @typescript-eslint/no-require-imports -- the helper has no types of its own
export const helper = require('node-red-node-test-helper') as Helper;

/** A part of 96 x 96 pixels as a PNG, each seed another one; `defect` damages it. */
export const part = (seed: number, defect = false): Promise<Buffer> => support.part({ seed, defect });

export const parts = (count: number, from = 1): Promise<Buffer[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => part(from + i)));

/** zlib.crc32 came with Node 20.15 only. */
function crc32(bytes: Buffer): number {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** A whole, valid PNG of `side` x `side` black pixels: some hundred kilobytes for gigapixels. */
export function bomb(side: number): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length);
    frame.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side);
  header.writeUInt32BE(side, 4);
  header[8] = 1; // one bit a pixel, grey
  const rows = zlib.deflateSync(Buffer.alloc((Math.ceil(side / 8) + 1) * side), { level: 1 });
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]);
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', rows), chunk('IEND', Buffer.alloc(0))]);
}

export const SMALL = { ...support.SMALL, coresetRatio: 0.5 };

export const clientOptions = (store: string, log: string[] = []): ClientOptions => ({
  engine: { store, device: 'cpu', threads: 1 },
  timeout: 30_000,
  log: text => log.push(text)
});

/** Fits a detector from a few good parts, in its own process. */
export async function fitted(store: string, name: string, count = 3, settings = {}): Promise<string> {
  const fit = await FitClient.start(clientOptions(store), name, { ...SMALL, ...settings });
  for (const image of await parts(count)) await fit.add(image);
  return (await fit.finish()).version;
}

export function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 10_000): Promise<void> {
  const end = Date.now() + ms;
  while (!(await condition())) {
    assert.ok(Date.now() < end, `timed out: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

/** Random ids as Node-RED makes them, so that no id equals another property's value. */
export const id = (): string => Array.from({ length: 16 }, () => Math.floor(Math.random() * 16).toString(16)).join('');

/** Records what a helper node receives. */
export class Inbox extends EventEmitter {
  readonly messages: NodeMessage[] = [];

  constructor(nodeId: string) {
    super();
    helper.getNode(nodeId).on('input', ((msg: NodeMessage) => this.messages.push(msg)) as never);
  }

  async wait(count: number, ms = 20_000): Promise<NodeMessage[]> {
    await until(() => this.messages.length >= count, `${count} messages, not ${this.messages.length}`, ms);
    return this.messages;
  }
}

export interface Bench {
  model: string;
  node: string;
  flow: Record<string, unknown>[];
}

/** A tab with a model, one node under test, its outputs wired to helper nodes, and catch, complete and status nodes. */
export function bench(
  type: string,
  config: object,
  model: object
): Bench & Record<'out' | 'second' | 'third' | 'caught' | 'completed' | 'statuses', string> {
  const ids = { tab: id(), model: id(), node: id(), out: id(), second: id(), third: id() };
  const watch = { catch: id(), complete: id(), status: id(), caught: id(), completed: id(), statuses: id() };
  const on = (watcher: string) => ({ z: ids.tab, x: 0, y: 0, wires: [[watcher]] });
  const sink = (nodeId: string) => ({ id: nodeId, type: 'helper', z: ids.tab, x: 0, y: 0, wires: [] });
  const wires = [[ids.out], [ids.second], [ids.third]];
  const flow = [
    { id: ids.tab, type: 'tab', label: 'test' },
    { id: ids.model, type: 'anomaly-model', name: '', detector: 'screw', preset: 'anomalib', ...model },
    { id: ids.node, type, z: ids.tab, x: 0, y: 0, name: '', model: ids.model, wires, ...defaults, ...config },
    { id: watch.catch, type: 'catch', scope: [ids.node], uncaught: false, ...on(watch.caught) },
    { id: watch.complete, type: 'complete', scope: [ids.node], uncaught: false, ...on(watch.completed) },
    { id: watch.status, type: 'status', scope: [ids.node], ...on(watch.statuses) },
    ...[ids.out, ids.second, ids.third, watch.caught, watch.completed, watch.statuses].map(sink)
  ];
  return { ...ids, ...watch, flow };
}

const defaults = { image: 'payload', imageType: 'msg', recipe: '', recipeType: 'msg' };

export const modules: NodeModule[] = [anomalyModel, anomalyFit, anomalyScore, heatmap, threshold];

/** The settings of an anomaly-model for small pictures. */
export const smallModel = (store: string, more: object = {}): object => ({
  store,
  device: 'cpu',
  inputWidth: '64',
  inputHeight: '64',
  coresetRatio: '0.5',
  ...more
});

export interface Caught extends NodeMessage {
  error: { message: string; code?: string; source: { id: string } };
}
