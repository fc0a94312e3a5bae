// Pictures a second: the engine alone against the engine inside Node-RED, with the delay of Node-RED's event loop.
import fs from 'node:fs';
import path from 'node:path';
import v8 from 'node:v8';
import { Engine } from '../../lib/engine';
import { SCORE_HEAP } from '../../lib/host/supervisor';
import { apart } from '../apart';
import { storeOf, type BenchBackbone, type Context } from '../context';
import { engineLoad, type EngineLoad } from '../engine-load';
import { nodeRedLoad, type Measured } from '../node-red-load';
import type { Row, SectionResult } from '../result';
import { spread } from '../rounds';

interface Job {
  store: string;
  pictures: string[];
  seconds: number;
  /** pictures under way in the bare engine; without: inside Node-RED */
  ahead?: number;
  /** whether the bare engine's heap is set as that of the engine inside Node-RED */
  heapSet?: boolean;
  threads: number;
  userDir: string;
}

/** One, and as many as gain something from decoding beside the network. */
const AHEAD = [1, 2, 4];

export async function work(job: Job): Promise<EngineLoad | Measured> {
  const { store, seconds, ahead, heapSet, threads, userDir } = job;
  if (heapSet) v8.setFlagsFromString(SCORE_HEAP);
  const pictures = job.pictures.map(file => fs.readFileSync(file));
  if (ahead) return engineLoad(new Engine({ store, threads, device: 'cpu' }), 'bench', pictures, seconds, ahead);
  return nodeRedLoad({ store, detector: 'bench', pictures, seconds, userDir });
}

export async function run(context: Context): Promise<SectionResult> {
  const { seconds, threads, quick } = context.options;
  const backbones = context.backbones.slice(0, quick ? 1 : undefined);
  return {
    rows: backbones.flatMap(backbone => measure(context, backbone)),
    notes: [
      `${seconds} s each time, pictures and maps of the section score; ${threads} processor cores for everything.`
    ]
  };
}

function measure(context: Context, backbone: BenchBackbone): Row[] {
  const { rounds, seconds, threads } = context.options;
  const pictures = context.pictures.slice(0, 32);
  const userDir = path.join(context.folder, 'user');
  const job: Job = { store: storeOf(context, backbone), pictures, seconds, threads, userDir };
  const bare = new Map<number, EngineLoad[]>(AHEAD.map(ahead => [ahead, []]));
  const heapSet: EngineLoad[] = [];
  const inside: Measured[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const [ahead, loads] of bare) loads.push(apart<EngineLoad>(__filename, { ...job, ahead }));
    heapSet.push(apart<EngineLoad>(__filename, { ...job, ahead: AHEAD[AHEAD.length - 1], heapSet: true }));
    inside.push(apart<Measured>(__filename, job));
  }
  const aloneRow = (system: string, loads: EngineLoad[]): Row => ({
    backbone: backbone.name,
    system: `the engine alone, ${system}`,
    perSecond: spread(loads.map(load => load.perSecond)),
    cpuMs: spread(loads.map(load => load.cpuMs))
  });
  const alone = [...bare].map(([ahead, loads]) => aloneRow(`${ahead} under way`, loads));
  alone.push(aloneRow(`${AHEAD[AHEAD.length - 1]} under way, V8's heap set as inside Node-RED`, heapSet));
  const most = Math.max(...[...bare.values()].map(loads => spread(loads.map(load => load.perSecond)).median));
  const perSecond = spread(inside.map(load => load.perSecond));
  const within: Row = {
    backbone: backbone.name,
    system: 'Node-RED',
    perSecond,
    share: Math.round((100 * perSecond.median) / most),
    cpuMs: spread(inside.map(load => load.cpuMs.nodeRed + load.cpuMs.engine)),
    nodeRedCpuMs: spread(inside.map(load => load.cpuMs.nodeRed)),
    delayP99: spread(inside.map(load => load.eventLoopDelayMs.p99)),
    delayMax: spread(inside.map(load => load.eventLoopDelayMs.max))
  };
  return [...alone, within];
}
