import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import { writeSample } from '../../lib/sample';
import { program } from '../services/program';
import { startPrometheus } from '../services/prometheus';
import { put, ROOT, scratch } from '../support';
import { starter, until } from './node-red';
import { INSTALLING } from './palette';
import { TARGETS } from './versions';

const NAME = '@goodparts/node-red-anomaly';
const USER = { username: 'line', password: 'open sesame' };
const KNOWN = { authorization: `Basic ${Buffer.from(`${USER.username}:${USER.password}`).toString('base64')}` };

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

const npm = (cwd: string, ...args: string[]) =>
  // npm would fetch CUDA's libraries, see docs/devices.md
  promisify(execFile)('npm', args, { cwd, env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' } });

async function getJson<T>(url: string): Promise<T> {
  const response = await fetch(url, { headers: { accept: 'application/json', ...KNOWN } });
  return (await response.json()) as T;
}

describe('the packed package in a user directory', function () {
  this.timeout(INSTALLING);
  const userDir = scratch();
  const installed = path.join(userDir, 'node_modules', NAME);
  const flows = path.join(userDir, 'flows.json');
  const data = path.join(scratch(), 'flange');

  before(async function () {
    const folder = scratch();
    await npm(ROOT, 'pack', '--ignore-scripts', '--pack-destination', folder);
    put(path.join(userDir, 'package.json'), '{"name":"node-red-project","private":true}');
    const tarball = path.join(folder, fs.readdirSync(folder)[0]);
    const args = ['install', '--no-audit', '--no-fund', '--prefer-offline', tarball];
    await npm(userDir, ...args).catch((error: Error) => {
      if (!/ENOTFOUND|EAI_AGAIN|ECONNREFUSED/.test(error.message)) throw error;
      console.log('      skipped: npm cannot reach its registry');
      this.skip();
    });
    assert.ok(!fs.lstatSync(installed).isSymbolicLink(), 'what runs is the packed one and not this repository');
    await writeSample(data, { train: 6, test: 3, size: 128 });
    const demo = JSON.parse(fs.readFileSync(path.join(installed, 'examples/flows.json'), 'utf8')) as { type: string }[];
    const model = demo.find(({ type }) => type === 'anomaly-model')!;
    Object.assign(model, { metrics: true, inputWidth: 128, inputHeight: 128 });
    put(flows, JSON.stringify(demo));
  });

  /** Node-RED's own settings, but for this machine only, without a question about telemetry, and with a password. */
  function settingsOf(red: string): string {
    const own = JSON.stringify(path.join(path.dirname(red), 'settings.js'));
    const { hashSync } = createRequire(red)('bcryptjs') as { hashSync: (text: string, rounds: number) => string };
    const auth = JSON.stringify({ user: USER.username, pass: hashSync(USER.password, 4) });
    const file = path.join(userDir, 'settings.js');
    const more = `uiHost: '127.0.0.1', telemetry: { enabled: false }, httpNodeAuth: ${auth}`;
    put(file, `module.exports = { ...require(${own}), ${more} };\n`);
    return file;
  }

  for (const target of TARGETS)
    it(`is in the palette, fits and scores, and wants the password of httpNodeAuth, in ${target.title}`, async function () {
      fs.rmSync(path.join(userDir, 'goodparts'), { recursive: true, force: true });
      const files = await target.files();
      const { startNodeRed, freePort } = await starter();
      const log: string[] = [];
      const { url, stop } = await startNodeRed({
        ...files,
        settings: settingsOf(files.red),
        userDir,
        flows,
        port: await freePort(19000 + Math.floor(Math.random() * 900)),
        env: { GOODPARTS_DATA: data },
        onLine: (line: string) => log.push(line)
      });
      try {
        const sets = (await getJson<NodeSet[]>(`${url}/nodes`)).filter(set => set.module === NAME);
        const types = ['anomaly-fit', 'anomaly-model', 'anomaly-score', 'heatmap', 'threshold'];
        assert.deepEqual(sets.flatMap(set => set.types).sort(), types);
        assert.deepEqual(
          sets.filter(set => !set.enabled || set.err),
          []
        );
        const state = () => getJson<State>(`${url}/goodparts/state`);
        const { error, detector } = await until(state, s => s.counts?.ok > 0 && s.counts.ng > 0, 90);
        assert.deepEqual({ error, images: detector!.images }, { error: null, images: 6 });
        const metrics = (headers: Record<string, string>) => fetch(`${url}/anomaly/metrics`, { headers });
        assert.equal((await metrics({})).status, 401);
        const wrong = `Basic ${Buffer.from('line:open').toString('base64')}`;
        assert.equal((await metrics({ authorization: wrong })).status, 401);
        assert.match(await (await metrics(KNOWN)).text(), /^anomaly_verdicts_total\{.*verdict="ng".*\} [1-9]/m);
        const complaints = log.filter(line => /\[(error|warn)\] ./.test(line));
        assert.deepEqual(
          complaints.filter(line => !/credentials|Encrypted|Projects disabled/.test(line)),
          []
        );
        // docs/monitoring/prometheus.yml says how Prometheus gives it
        if (target !== TARGETS[0]) return;
        const prometheus = await startPrometheus(program(this, 'prometheus'), url, USER);
        const up = () => prometheus.query('sum(anomaly_verdicts_total)');
        await until(up, found => Number(found[0]?.value[1]) > 0, 30).finally(() => prometheus.stop());
      } finally {
        assert.equal(await stop(), 0);
      }
    });
});
