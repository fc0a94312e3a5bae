// `npm run bench`: timings of this machine, printed and not asserted. `-- --json FILE` writes them as well, `--seconds N` changes how long
// each load runs, `--cold` and `--soak MINUTES` measure the start and the memory instead, `--rounds N` how often, `--images FOLDER` takes pictures of a class in MVTec layout instead of the sample parts.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Engine } from '../lib/engine';
import { readMvtec } from '../lib/mvtec';
import { writeSample } from '../lib/sample';
import { coldStart } from './cold-start';
import { engineLoad, type EngineLoad } from './engine-load';
import { nodeRedLoad, type Measured } from './node-red-load';
import { round, spread } from './rounds';
import { soak } from './soak';

/** Pictures under way in the bare engine: one, and as many as gain something from decoding beside the network. */
const AHEAD = [1, 2, 4];

/** The bare engine and Node-RED in turns, so that a machine that slows down slows both down. */
async function rounds(
  engine: Engine,
  store: string,
  pictures: Buffer[],
  seconds: number,
  count: number,
  userDir: string
) {
  const bare = new Map<number, EngineLoad[]>(AHEAD.map(ahead => [ahead, []]));
  const inside: Measured[] = [];
  for (let i = 0; i < count; i++) {
    for (const [ahead, loads] of bare) loads.push(await engineLoad(engine, 'bench', pictures, seconds, ahead));
    inside.push(await nodeRedLoad({ store, detector: 'bench', pictures, seconds, userDir }));
  }
  const speeds = [...bare].map(([ahead, loads]) => ({
    ahead,
    perSecond: spread(loads.map(load => load.perSecond)),
    cpuMs: spread(loads.map(load => load.cpuMs)),
    last: loads.at(-1)
  }));
  const best = Math.max(...speeds.map(speed => speed.perSecond.median));
  const perSecond = spread(inside.map(load => load.perSecond));
  return {
    engine: speeds,
    nodeRed: {
      perSecond,
      shareOfBestEngine: round(perSecond.median / best),
      cpuMs: {
        nodeRed: spread(inside.map(load => load.cpuMs.nodeRed)),
        engine: spread(inside.map(load => load.cpuMs.engine))
      },
      eventLoopDelayMs: {
        p99: spread(inside.map(load => load.eventLoopDelayMs.p99)),
        max: spread(inside.map(load => load.eventLoopDelayMs.max))
      },
      last: inside.at(-1)
    }
  };
}

/** Every patch of 20 pictures: 20,480 with the embedded backbone. */
async function cold(
  engine: Engine,
  train: { path: string }[],
  picture: string,
  store: string,
  userDir: string,
  count: number
) {
  const some = train.slice(0, 20).map(({ path: file }) => fs.readFileSync(file));
  const { bankSize } = await engine.fit('cold', some, { coresetRatio: 1 });
  return { bankSize, ...(await coldStart(store, picture, userDir, count)) };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: 'string' },
      seconds: { type: 'string', default: '10' },
      rounds: { type: 'string', default: '3' },
      images: { type: 'string' },
      soak: { type: 'string' },
      cold: { type: 'boolean' }
    }
  });
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-bench-'));
  try {
    const images = values.images ?? path.join(folder, 'sample');
    if (!values.images) await writeSample(images);
    const { train, test } = await readMvtec(images);
    const store = path.join(folder, 'store');
    const engine = new Engine({ store });
    const pictures = test.slice(0, 32).map(t => fs.readFileSync(t.path));
    const fit = await engine.fit(
      'bench',
      train.map(t => fs.readFileSync(t.path))
    );
    const userDir = path.join(folder, 'user');
    const load = { store, detector: 'bench', pictures, userDir };
    const measured = values.soak
      ? { soak: await soak(load, Number(values.soak)) }
      : values.cold
        ? { coldStart: await cold(engine, train, test[0].path, store, userDir, Number(values.rounds)) }
        : await rounds(engine, store, pictures, Number(values.seconds), Number(values.rounds), userDir);
    const results = {
      machine: `${os.cpus()[0].model}, ${os.availableParallelism()} cores, ${Math.round(os.totalmem() / 2 ** 30)} GiB`,
      node: process.version,
      date: new Date().toISOString().slice(0, 10),
      fit: { images: fit.images, patches: fit.patches, bankSize: fit.bankSize, ms: fit.timing },
      ...measured
    };
    console.log(JSON.stringify(results, null, 2));
    if (values.json) fs.writeFileSync(values.json, JSON.stringify(results, null, 2) + '\n');
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

void main();
