// `npm run bench`: timings of this machine, printed and not asserted. `-- --json FILE` writes them as well, `--seconds N` changes how long
// each load runs, `--images FOLDER` takes pictures of a class in MVTec layout instead of the sample parts.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Engine } from '../lib/engine';
import { readMvtec } from '../lib/mvtec';
import { writeSample } from '../lib/sample';
import { engineLoad } from './engine-load';
import { nodeRedLoad } from './node-red-load';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { json: { type: 'string' }, seconds: { type: 'string', default: '20' }, images: { type: 'string' } }
  });
  const seconds = Number(values.seconds);
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
    const results = {
      machine: `${os.cpus()[0].model}, ${os.availableParallelism()} cores, ${Math.round(os.totalmem() / 2 ** 30)} GiB`,
      node: process.version,
      date: new Date().toISOString().slice(0, 10),
      fit: { images: fit.images, patches: fit.patches, bankSize: fit.bankSize, ms: fit.timing },
      engine: await engineLoad(engine, pictures, seconds),
      nodeRed: await nodeRedLoad(store, pictures, seconds, path.join(folder, 'user'))
    };
    console.log(JSON.stringify(results, null, 2));
    if (values.json) fs.writeFileSync(values.json, JSON.stringify(results, null, 2) + '\n');
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

void main();
