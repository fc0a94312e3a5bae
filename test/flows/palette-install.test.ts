import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { writeSample } from '../../lib/sample';
import { put, ROOT, scratch } from '../support';
import { getJson, starter, until } from './node-red';
import { TARGETS } from './versions';

const NAME = '@goodparts/node-red-anomaly';
const run = promisify(execFile);
const npm = (cwd: string, ...args: string[]) =>
  // npm would fetch CUDA's libraries, see docs/devices.md
  run('npm', args, { cwd, env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' } });

interface NodeSet {
  module: string;
  types: string[];
  enabled: boolean;
  err?: string;
}

interface State {
  error: string | null;
  detector?: { images: number };
  counts: { ok: number; ng: number };
}

describe('the packed package in a fresh user directory', function () {
  this.timeout(240_000);
  let tarball: string;
  let data: string;

  before(async () => {
    const folder = scratch();
    await npm(ROOT, 'pack', '--ignore-scripts', '--pack-destination', folder);
    tarball = path.join(folder, fs.readdirSync(folder)[0]);
    data = path.join(scratch(), 'flange');
    await writeSample(data, { train: 12, test: 6, size: 256 });
  });

  for (const target of TARGETS)
    it(`loads, fits and scores in ${target.title}`, async function () {
      const userDir = scratch();
      put(path.join(userDir, 'package.json'), '{"name":"node-red-project","private":true}');
      const files = await target
        .files()
        .then(async found => {
          await npm(userDir, 'install', '--no-audit', '--no-fund', '--prefer-offline', tarball);
          return found;
        })
        .catch((error: Error & { stderr?: string }) => {
          if (!/ENOTFOUND|EAI_AGAIN|ECONNREFUSED/.test(`${error.message} ${error.stderr}`)) throw error;
          console.log('      skipped: npm cannot reach its registry');
          this.skip();
        });
      const installed = path.join(userDir, 'node_modules', NAME);
      assert.ok(!fs.lstatSync(installed).isSymbolicLink(), 'what runs is the packed one and not this repository');
      // Node-RED's own settings, but for this machine only and without a question about telemetry
      const own = JSON.stringify(path.join(path.dirname(files.red), 'settings.js'));
      const settings = path.join(userDir, 'settings.js');
      put(settings, `module.exports = { ...require(${own}), uiHost: '127.0.0.1', telemetry: { enabled: false } };\n`);
      const { startNodeRed, freePort } = await starter();
      const log: string[] = [];
      const nodeRed = await startNodeRed({
        ...files,
        settings,
        userDir,
        flows: path.join(installed, 'examples/flows.json'),
        port: await freePort(19000 + Math.floor(Math.random() * 900)),
        env: { GOODPARTS_DATA: data },
        onLine: (line: string) => log.push(line)
      });
      try {
        const json = { headers: { accept: 'application/json' } };
        const sets = (await (await fetch(`${nodeRed.url}/nodes`, json)).json()) as NodeSet[];
        const ours = sets.filter(set => set.module === NAME);
        const types = ['anomaly-fit', 'anomaly-model', 'anomaly-score', 'heatmap', 'threshold'];
        assert.deepEqual(ours.flatMap(set => set.types).sort(), types);
        assert.ok(
          ours.every(set => set.enabled && !set.err),
          JSON.stringify(ours)
        );
        const state = () => getJson<State>(`${nodeRed.url}/goodparts/state`);
        const { error, detector } = await until(state, s => s.counts?.ok > 0 && s.counts.ng > 0, 90);
        assert.deepEqual({ error, images: detector!.images }, { error: null, images: 12 });
        const wrong = log.filter(line => /\[(error|warn)\]/.test(line) && !/credentials|Encrypted/.test(line));
        assert.deepEqual(wrong, []);
      } finally {
        assert.equal(await nodeRed.stop(), 0);
      }
    });
});
