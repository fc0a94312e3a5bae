import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { writeSample } from '../../lib/sample';
import { ROOT, scratch } from '../support';
import { openEmpty, type Editor, type FlowNode } from './editor';
import { starter, until, type NodeRed } from './node-red';

type Nodes = (FlowNode & { func?: string; detector?: string; env?: object[] })[];

/** The example, told which server is meant and for how long to wait for it, in milliseconds; small pictures. */
function flow(server: string, patience = 60_000): Nodes {
  const nodes = JSON.parse(fs.readFileSync(path.join(ROOT, 'examples/mlflow.json'), 'utf8')) as Nodes;
  for (const node of nodes) {
    if (node.type === 'tab') node.env = [{ name: 'MLFLOW_URL', type: 'str', value: server }];
    if (node.type === 'anomaly-model') Object.assign(node, { inputWidth: '64', inputHeight: '64' });
    if (node.name === 'find experiment')
      node.func = node.func!.replace('requestTimeout = 10000', `requestTimeout = ${patience}`);
  }
  return nodes;
}

interface Run {
  info: { run_id: string; run_name: string; status: string; start_time: number; end_time: number };
  data: Record<'metrics' | 'params' | 'tags', { key: string; value: unknown }[]>;
}

/**
 * A real MLflow: GOODPARTS_MLFLOW is its program, or the address of one that runs; else the one that test/services/mlflow.sh installs.
 * Skips without one.
 */
async function startMlflow(context: Mocha.Context): Promise<{ url: string; stop: () => void }> {
  const given = process.env.GOODPARTS_MLFLOW ?? path.join(ROOT, 'test/.cache/mlflow/bin/mlflow');
  if (given.startsWith('http')) return { url: given, stop: () => {} };
  if (!fs.existsSync(given)) {
    console.log('      skipped: MLflow is not installed; test/services/mlflow.sh does that');
    context.skip();
  }
  const port = await (await starter()).freePort(15000 + Math.floor(Math.random() * 900));
  const store = ['--backend-store-uri', 'sqlite:///mlflow.db', '--default-artifact-root', './artifacts'];
  const args = ['server', '--host', '127.0.0.1', '--port', String(port), '--workers', '1', ...store];
  // its own process group: the server is a child of the program
  const { pid } = spawn(given, args, { cwd: scratch(), stdio: 'ignore', detached: true });
  const stop = () => void process.kill(-pid!, 'SIGKILL');
  const url = `http://127.0.0.1:${port}`;
  const healthy = async () => (await fetch(`${url}/health`).catch(() => undefined))?.ok;
  try {
    await until(healthy, ok => ok === true, 170);
  } catch (error) {
    stop();
    throw error;
  }
  return { url, stop };
}

describe('mlflow.json', function () {
  this.timeout(200_000);
  let nodeRed: NodeRed;
  let editor: Editor;

  before(async () => {
    ({ nodeRed, editor } = await openEmpty());
  });
  after(async () => {
    editor?.close();
    if (nodeRed) assert.equal(await nodeRed.stop(), 0);
  });

  const send = (figures: string) =>
    fetch(`${nodeRed.url}/mlflow/evaluation?name=flange`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: figures
    });
  const versions = () =>
    fs.readdirSync(path.join(nodeRed.userDir, 'goodparts/recorded')).filter(name => /^v\d/.test(name));

  describe('with a real server', () => {
    let server: { url: string; stop: () => void };
    before(async function () {
      server = await startMlflow(this);
      await editor.deploy(flow(server.url));
    });
    after(() => server?.stop());

    const runOf = async (id: string): Promise<Run> => {
      const answer = await fetch(`${server.url}/api/2.0/mlflow/runs/get?run_id=${id}`);
      return ((await answer.json()) as { run: Run }).run;
    };
    const asObject = (entries: { key: string; value: unknown }[]) =>
      Object.fromEntries(entries.map(({ key, value }) => [key, value]));

    it('records a fit: parameters, calibration and evaluation', async () => {
      await editor.press('learn');
      const [{ run: id, experiment }] = await editor.shown<{ run: string; experiment: string }>('recorded', 1, 120);
      assert.equal(experiment, 'goodparts');
      const run = await runOf(id);
      assert.match(run.info.run_name, /^recorded v\d+$/);
      assert.equal(run.info.status, 'FINISHED');
      assert.ok(run.info.end_time >= run.info.start_time);
      const [params, metrics] = [asObject(run.data.params), asObject(run.data.metrics)];
      assert.equal(params.preset, 'anomalib');
      assert.equal(params.inputWidth, '64');
      assert.equal(params.images, '12');
      assert.equal(params.calibration, 'leave-one-out');
      assert.equal(metrics.image_auroc, 1, 'a dark spot is no puzzle');
      assert.equal(metrics.detection_rate, 1);
      for (const name of ['bank_size', 'radius', 'good_score_median', 'fit_total_seconds', 'threshold'])
        assert.ok((metrics[name] as number) > 0, name);
      const address = `${server.url}/api/2.0/mlflow/metrics/get-history?run_id=${id}&metric_key=good_score`;
      const { metrics: curve } = (await (await fetch(address)).json()) as { metrics: { value: number }[] };
      assert.equal(curve.length, 12);
    });

    it('records what goodparts evaluate measures', async () => {
      const folder = path.join(scratch(), 'flange');
      await writeSample(folder, { train: 4, test: 2, size: 96 });
      const cli = path.join(ROOT, 'dist/cli/goodparts.js');
      const args = [cli, 'evaluate', folder, '--size', '64', '--json', '-'];
      const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      assert.ok(stdout, stderr);
      const answer = await send(stdout);
      assert.equal(answer.status, 200);
      const { run: id } = (await answer.json()) as { run: string };
      const run = await runOf(id);
      assert.equal(run.info.run_name, 'evaluation flange');
      const figures = JSON.parse(stdout) as Record<string, unknown>;
      const metrics = asObject(run.data.metrics);
      for (const name of ['image_auroc', 'pixel_auroc', 'aupro', 'bank_size', 'score_ms_p50'])
        assert.equal(metrics[name], figures[name], name);
      assert.equal(asObject(run.data.params).backbone, figures.backbone);
    });

    it('says what the server does not accept', async () => {
      const answer = await send(JSON.stringify({ ['bad/../name?']: 1, 'x\n': 2 }));
      assert.equal(answer.status, 502);
      assert.equal(((await answer.json()) as { status: number }).status, 400);
    });
  });

  describe('without one', () => {
    let silent: net.Server;
    before(async () => {
      silent = net.createServer(socket => socket.on('error', () => {}));
      await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve));
    });
    after(() => silent.close());
    /** An error of the server before may come late: any will do. */
    const failed = (why: RegExp) =>
      until(
        async () => editor.debugged<{ message: string }>('errors'),
        all => all.some(({ message }) => why.test(message)),
        120
      );

    it('a server that is down costs the report, not the fit', async () => {
      await editor.deploy(flow('http://127.0.0.1:1'));
      await editor.press('learn');
      await failed(/ECONNREFUSED|bad port|connect/i);
      assert.ok(versions().length >= 1);
      assert.equal((await send('{"image_auroc": 1}')).status, 502);
    });

    it('neither does one that is slow', async () => {
      await editor.deploy(flow(`http://127.0.0.1:${(silent.address() as net.AddressInfo).port}`, 1000));
      const before = versions().length;
      await editor.press('learn');
      await failed(/timeout|no response/i);
      assert.equal(versions().length, before + 1);
    });

    it('figures that are none are refused', async () => {
      assert.equal((await send('{"words": "only"}')).status, 400);
    });
  });
});
