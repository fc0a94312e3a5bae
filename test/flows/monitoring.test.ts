import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import type { Health } from '../../lib/red/health';
import { program } from '../services/program';
import { startPrometheus, type Prometheus } from '../services/prometheus';
import { part, parts, ROOT } from '../support';
import { openEmpty, type Editor, type FlowNode } from './editor';
import { getJson, until, type NodeRed } from './node-red';

const FOLDER = path.join(ROOT, 'docs/monitoring');

type Nodes = (FlowNode & Record<string, unknown>)[];

/** The example for HTTP with its model's Monitoring tab filled in, and a line that is too fast for its queue. */
function flow(): Nodes {
  const nodes = JSON.parse(fs.readFileSync(path.join(ROOT, 'examples/inspect-by-http.json'), 'utf8')) as Nodes;
  const model = nodes.find(node => node.type === 'anomaly-model')!;
  Object.assign(model, { metrics: true, log: 'logs/parts.log', inputWidth: '64', inputHeight: '64' });
  const z = nodes.find(node => node.type === 'tab')!.id;
  const second = { ...model, id: 'b000000000000001', name: 'second', log: '' };
  const inject = { type: 'inject', z, x: 0, y: 0, repeat: '', once: false };
  return [
    ...nodes,
    second,
    { ...inject, id: 'b000000000000002', name: 'rush', props: [], wires: [['b000000000000003']] },
    {
      id: 'b000000000000003',
      type: 'function',
      z,
      x: 0,
      y: 0,
      name: 'ten pictures',
      func: "const data = Buffer.alloc(640 * 640 * 3, 90);\nreturn [Array.from({length: 10}, (_, i) => ({partId: 'rush ' + i, payload: {data, width: 640, height: 640, channels: 3}}))];",
      outputs: 1,
      wires: [['b000000000000004']]
    },
    {
      id: 'b000000000000004',
      type: 'anomaly-score',
      z,
      x: 0,
      y: 0,
      name: 'hurried',
      model: second.id,
      image: 'payload',
      imageType: 'msg',
      recipe: '',
      recipeType: 'msg',
      queue: 1,
      policy: 'drop-newest',
      batch: 1,
      map: false,
      wires: [['b000000000000005'], []]
    },
    {
      id: 'b000000000000005',
      type: 'debug',
      z,
      x: 0,
      y: 0,
      name: 'health',
      active: true,
      tosidebar: true,
      complete: 'payload',
      targetType: 'msg',
      wires: []
    },
    {
      ...inject,
      id: 'b000000000000006',
      name: 'ask for health',
      props: [{ p: 'health', v: 'true', vt: 'bool' }],
      wires: [['b000000000000004']]
    }
  ];
}

interface Panel {
  title: string;
  targets?: { expr: string }[];
}

describe('monitoring', function () {
  this.timeout(60_000);
  let nodeRed: NodeRed;
  let editor: Editor;

  before(async () => {
    ({ nodeRed, editor } = await openEmpty());
  });
  after(async () => {
    editor?.close();
    if (nodeRed) assert.equal(await nodeRed.stop(), 0);
  });

  const post = (address: string, body?: Buffer | string, type = 'image/png') =>
    fetch(nodeRed.url + address, {
      method: 'POST',
      body: body && (typeof body === 'string' ? body : new Uint8Array(body)),
      headers: { 'content-type': type }
    });
  const status = async (answer: Promise<Response>) => {
    const response = await answer;
    await response.arrayBuffer();
    return response.status;
  };
  const scrape = async () => {
    const text = await (await fetch(`${nodeRed.url}/anomaly/metrics`)).text();
    const values = text.split('\n').filter(line => line && !line.startsWith('#'));
    return new Map(
      values.map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))])
    );
  };
  const lines = () => {
    const text = fs.readFileSync(path.join(nodeRed.userDir, 'logs/parts.log'), 'utf8');
    return text
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as Record<string, unknown>);
  };

  it('answers nothing where no model allows it', async () => {
    for (const what of ['metrics', 'health']) assert.equal(await status(fetch(`${nodeRed.url}/anomaly/${what}`)), 404);
  });

  it('counts parts, verdicts, errors and requests', async () => {
    await editor.deploy(flow());
    for (const good of await parts(8)) assert.equal(await status(post('/learn', good)), 200);
    assert.equal(await status(post('/learn/done')), 200);
    for (const seed of [1, 2, 3]) assert.equal(await status(post('/inspect', await part({ seed }))), 200);
    assert.equal(await status(post('/inspect', await part({ seed: 4, defect: true }))), 200);
    assert.equal(await status(post('/inspect', 'no picture', 'image/png')), 415);
    assert.equal(await status(fetch(`${nodeRed.url}/wp-admin/${'x'.repeat(50)}`)), 404);
    const values = await until(scrape, all => all.get('anomaly_parts_scored_total{recipe="part"}') === 4, 5);
    const value = (name: string) => values.get(name) ?? 0;
    const [ok, ng] = ['ok', 'ng'].map(verdict => value(`anomaly_verdicts_total{recipe="part",verdict="${verdict}"}`));
    assert.equal(ok + ng, 4);
    assert.ok(ng >= 1);
    assert.equal(value('anomaly_score_relative_count{recipe="part"}'), 4);
    assert.equal(value('anomaly_score_relative_bucket{le="+Inf",recipe="part"}'), 4);
    assert.equal(value('anomaly_score_relative_bucket{le="-2",recipe="part"}'), 0);
    assert.equal(value('anomaly_score_relative_bucket{le="1",recipe="part"}'), ok, 'the limit is 1 on the scale');
    assert.equal(value('anomaly_errors_total{node="anomaly-score",code="image-format"}'), 1);
    assert.equal(value('anomaly_fits_total{recipe="part"}'), 1);
    assert.equal(value('http_requests_total{method="POST",handler="/learn",status="200"}'), 8);
    assert.equal(value('http_requests_total{method="POST",handler="/inspect",status="200"}'), 4);
    assert.equal(value('http_requests_total{method="POST",handler="/inspect",status="415"}'), 1);
    assert.equal(value('http_requests_total{method="GET",handler="other",status="404"}'), 1);
    assert.equal(value('http_requests_in_progress{method="POST"}'), 0);
    for (const stage of ['queue', 'decode', 'preprocess', 'backbone', 'search', 'map', 'total'])
      assert.equal(value(`anomaly_stage_duration_seconds_count{stage="${stage}"}`), 4, stage);
    const age = Date.now() / 1000 - value('anomaly_detector_created_timestamp_seconds{recipe="part",version="v1"}');
    assert.ok(age > 0 && age < 60, `${age} s`);
    for (const name of ['anomaly_engine_resident_memory_bytes{device="auto"}', 'process_resident_memory_bytes'])
      assert.ok(value(name) > 20e6 && value(name) < 2e9, `${name} ${value(name)}`);
    assert.ok(value('anomaly_engine_cpu_seconds_total{device="auto"}') > 0);
    assert.equal(value('anomaly_engine_up{device="auto"}'), 1);
    assert.equal(value('anomaly_queue_bound{node="hurried"}'), 1);
    assert.equal([...values.keys()].filter(name => name.startsWith('anomaly_engine_device{wanted="auto"')).length, 1);
    assert.ok(![...values.keys()].some(name => /wp-admin|anomaly\/metrics/.test(name)));
  });

  it('passes promtool', async function () {
    const text = await (await fetch(`${nodeRed.url}/anomaly/metrics`)).text();
    const {
      status: code,
      stdout,
      stderr
    } = spawnSync(program(this, 'promtool'), ['check', 'metrics'], { input: text });
    // 3: advice on style about names that prom-client gives Node.js' own metrics
    const ours = `${stdout}${stderr}`.split('\n').filter(line => /^(anomaly|http)_/.test(line));
    assert.deepEqual(ours, []);
    assert.ok(code === 0 || code === 3, `${stdout}${stderr}`);
  });

  it('counts what a queue drops, and survives a deploy', async () => {
    await editor.press('rush');
    const name = 'anomaly_parts_dropped_total{recipe="part"}';
    const before = await until(
      scrape,
      all => all.get('anomaly_parts_scored_total{recipe="part"}')! + all.get(name)! === 14,
      15
    );
    const dropped = before.get(name)!;
    assert.ok(dropped >= 6 && dropped < 10, `${dropped} of 10`);
    await editor.deploy(flow());
    const after = await until(scrape, all => all.get('anomaly_engine_up{device="auto"}') === 1, 15);
    for (const kept of [
      name,
      'anomaly_parts_scored_total{recipe="part"}',
      'http_requests_total{method="POST",handler="/learn",status="200"}'
    ])
      assert.equal(after.get(kept), before.get(kept), kept);
    assert.equal(await status(post('/inspect', await part({ seed: 5 }))), 200);
    const again = await until(scrape, all => all.get('anomaly_parts_scored_total{recipe="part"}') === 15 - dropped, 5);
    assert.equal(again.get('http_requests_total{method="POST",handler="/inspect",status="200"}'), 5);
  });

  it('tells its health to HTTP and to a flow', async () => {
    const over = await getJson<Health>(`${nodeRed.url}/anomaly/health`);
    await editor.press('ask for health');
    const [shown] = await editor.shown<Health>('health', 1);
    for (const health of [over, shown]) {
      assert.equal(health.engines.length, 1);
      const [{ wanted, used, state, restarts, usage }] = health.engines;
      assert.deepEqual({ wanted, state, restarts }, { wanted: 'auto', state: 'ready', restarts: 0 });
      assert.ok(used && usage!.memoryBytes > 20e6 && usage!.cpuSeconds > 0);
      assert.ok(health.nodeRed.memoryBytes > 20e6 && health.nodeRed.uptimeSeconds > 0);
      assert.ok(health.queues.some(({ node, waiting, bound }) => node === 'hurried' && waiting === 0 && bound === 1));
      const [{ name, version, parts: count, ok, ng, dropped }] = health.detectors;
      assert.deepEqual({ name, version }, { name: 'part', version: 'v1' });
      assert.equal(count + dropped, 15);
      assert.equal(ok + ng, 5);
      assert.equal(health.errors['image-format'], 1);
    }
  });

  it('writes one line a part, and no picture', async () => {
    const all = await until(
      async () => lines(),
      written => written.length >= 6,
      5
    );
    assert.deepEqual(all.map(line => line.verdict).filter(verdict => verdict === 'error').length, 1);
    const judged = all.filter(({ verdict }) => verdict === 'ok' || verdict === 'ng');
    assert.equal(judged.length, 5);
    for (const line of judged) {
      assert.equal(line.detector, 'part@v1');
      assert.ok(Math.abs(Date.now() - Date.parse(String(line.time))) < 60_000);
      assert.ok(Number(line.ms) > 0 && Number(line.score) > 0 && Number(line.threshold) > 0);
      assert.equal(line.verdict === 'ng', Number(line.score) > Number(line.threshold));
    }
    const [error] = all.filter(({ verdict }) => verdict === 'error');
    assert.equal(error.code, 'image-format');
    assert.equal(error.level, 'error');
    assert.ok(all.every(line => JSON.stringify(line).length < 800));
  });

  describe('in Prometheus', () => {
    let prometheus: Prometheus;
    let line: NodeJS.Timeout;
    before(async function () {
      prometheus = await startPrometheus(program(this, 'prometheus'), nodeRed.url);
      const pictures = await parts(4);
      const defective = await part({ seed: 9, defect: true });
      let count = 0;
      line = setInterval(() => {
        const picture = count++ % 5 === 4 ? defective : pictures[count % 4];
        void status(post('/inspect', picture)).catch(() => {});
        if (count % 10 === 0) void status(post('/inspect', 'no picture')).catch(() => {});
      }, 200);
      const ready = async () => prometheus.query('min(changes(process_cpu_seconds_total[10s])) > 5');
      await until(ready, found => found.length > 0, 30);
    });
    after(async () => {
      clearInterval(line);
      await prometheus?.stop();
    });

    it('the dashboard is what its script says', () => {
      const script = path.join(ROOT, 'scripts/build-dashboard.mjs');
      assert.equal(spawnSync(process.execPath, [script, '--check']).status, 0);
    });

    it('each panel of the dashboard has data', async () => {
      const { panels } = JSON.parse(fs.readFileSync(path.join(FOLDER, 'dashboard.json'), 'utf8')) as {
        panels: Panel[];
      };
      const asked = panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));
      assert.ok(asked.length > 30, `${asked.length} queries`);
      const bare: string[] = [];
      for (const { title, expr } of asked) {
        const text = expr.replaceAll('$__rate_interval', '10s').replace(/\$(instance|recipe)/g, '.*');
        const series = await prometheus.query(text);
        if (!series.some(({ value }) => Number.isFinite(Number(value[1])))) bare.push(`${title}: ${text}`);
      }
      assert.deepEqual(bare, []);
    });

    it('shows what is true', async () => {
      const one = async (expression: string) => Number((await prometheus.query(expression))[0]?.value[1]);
      const share = await one(
        'sum(increase(anomaly_verdicts_total{verdict="ng"}[10s])) / sum(increase(anomaly_verdicts_total[10s]))'
      );
      assert.ok(
        share > 0.1 && share < 0.9,
        `every fifth part is defective, some good ones lie above the limit: ${share}`
      );
      assert.ok((await one('60 * sum(rate(anomaly_parts_scored_total[10s]))')) > 60);
      assert.equal(await one('up{job="goodparts"}'), 1);
    });

    it('evaluates every alert rule, and none is wrong', async () => {
      interface Rules {
        groups: { rules: { name: string; health: string; lastError?: string }[] }[];
      }
      const rules = (await prometheus.get<Rules>('rules')).groups.flatMap(group => group.rules);
      assert.ok(rules.length >= 10);
      for (const { name, health, lastError } of rules) assert.equal(health, 'ok', `${name}: ${lastError}`);
    });

    it('fires when the engine process is killed, and the line goes on', async () => {
      const { engines } = await getJson<Health>(`${nodeRed.url}/anomaly/health`);
      process.kill(engines[0].pid!, 'SIGKILL');
      const firing = () => prometheus.query('ALERTS{alertname="EngineRestarted", alertstate="firing"}');
      await until(firing, found => found.length === 1, 10);
      const { engines: after } = await getJson<Health>(`${nodeRed.url}/anomaly/health`);
      assert.equal(after[0].restarts, 1);
      assert.notEqual(after[0].pid, engines[0].pid);
      assert.equal(await status(post('/inspect', await part({ seed: 6 }))), 200);
    });
  });

  describe('alert rules', () => {
    it('fire on their cause, and only then', function () {
      const promtool = program(this, 'promtool');
      const file = path.join(ROOT, 'test/fixtures/alerts.yml');
      const { status: code, stdout, stderr } = spawnSync(promtool, ['test', 'rules', file], { encoding: 'utf8' });
      assert.equal(code, 0, stdout + stderr);
      const tested = fs.readFileSync(file, 'utf8');
      for (const [, name] of fs.readFileSync(path.join(FOLDER, 'alerts.yml'), 'utf8').matchAll(/alert: (\w+)/g))
        assert.ok(tested.includes(`alertname: ${name}`), `${name} is not tested`);
    });

    it('are valid, as is the configuration', function () {
      const {
        status: code,
        stdout,
        stderr
      } = spawnSync(program(this, 'promtool'), ['check', 'config', path.join(FOLDER, 'prometheus.yml')], {
        encoding: 'utf8'
      });
      assert.equal(code, 0, stdout + stderr);
    });
  });
});
