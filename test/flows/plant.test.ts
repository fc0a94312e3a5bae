import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { ask } from '../services/prometheus';
import { ROOT, scratch } from '../support';
import { getJson, until } from './node-red';

interface Service {
  image?: string;
  environment?: Record<string, string>;
  volumes?: string[];
  depends_on?: Record<string, object>;
  configs?: { source: string }[];
  healthcheck?: object;
  command?: string[];
}

interface Compose {
  services: Record<string, Service>;
  configs: Record<string, { content: string }>;
  volumes: Record<string, null>;
}

interface Yaml {
  load(text: string): unknown;
}

// mocha brings it
const { load } = createRequire(require.resolve('mocha/package.json'))('js-yaml') as Yaml;
const read = (...names: string[]) => fs.readFileSync(path.join(ROOT, ...names), 'utf8');

describe('docker-compose.yml', () => {
  const compose = load(read('docker-compose.yml')) as Compose;
  const services = Object.entries(compose.services);

  it('names only what is there: files, volumes, configurations, services', () => {
    for (const [name, { volumes = [], configs = [], depends_on = {} }] of services) {
      for (const [from] of volumes.map(volume => volume.split(':')))
        assert.ok(from.startsWith('.') ? fs.existsSync(path.join(ROOT, from)) : from in compose.volumes, from);
      for (const { source } of configs) assert.ok(source in compose.configs, source);
      for (const other of Object.keys(depends_on)) assert.ok(other in compose.services, other);
      assert.ok(compose.services[name].healthcheck || name === 'kafka-topics', `${name} has no health check`);
    }
  });

  it('has the topics, the scrape job and the addresses that the flows and docs/monitoring have', async () => {
    const { TOPICS } = await import(pathToFileURL(path.join(ROOT, 'scripts/kafka.mjs')).href);
    for (const [topic, partitions] of Object.entries(TOPICS))
      assert.match(compose.services['kafka-topics'].command![0], new RegExp(`\\b${topic}:${partitions}\\b`));
    const shipped = read('docs/monitoring/prometheus.yml').replace('localhost:1880', 'node-red:1880');
    assert.deepEqual(load(compose.configs.prometheus.content), load(shipped));
    const examples = fs.readdirSync(path.join(ROOT, 'examples')).filter(name => name.endsWith('.json'));
    const all = examples.map(name => read('examples', name)).join();
    const names = Object.keys(compose.services['node-red'].environment!);
    for (const name of names.filter(name => !/^(TZ|NODE_ENV)$/.test(name)))
      assert.ok(all.includes(name), `no example reads ${name}`);
  });

  it('is what docker compose takes', function () {
    const docker = (...args: string[]) => spawnSync('docker', ['compose', ...args], { cwd: ROOT, encoding: 'utf8' });
    if (docker('version').status !== 0) {
      console.log('      skipped: docker compose is not installed');
      this.skip();
    }
    const { status, stderr } = docker('config', '--quiet');
    assert.equal(status, 0, stderr);
  });
});

describe('npm run plant', function () {
  this.timeout(400_000);

  it('starts what the machine has, says what it left out, and ends all of it at Ctrl-C', async () => {
    const port = 18100 + Math.floor(Math.random() * 700);
    const args = [path.join(ROOT, 'scripts/plant.mjs'), '--home', scratch(), '--port', String(port)];
    const plant = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(plant, 'exit') as Promise<[number]>;
    let said = '';
    for (const stream of [plant.stdout, plant.stderr]) stream.setEncoding('utf8').on('data', text => (said += text));
    try {
      await until(
        async () => said,
        text => text.includes('Ctrl-C ends it.') || plant.exitCode !== null,
        360
      );
      const address = (name: string) => new RegExp(`^ +${name} +(\\S+)$`, 'm').exec(said)?.[1].replace(/\/$/, '');
      const url = address('Editor')!;
      assert.ok(url, said);
      for (const page of ['/upload', '/openapi.json']) assert.equal((await fetch(url + page)).status, 200, page);
      assert.match(await (await fetch(`${url}/anomaly/metrics`)).text(), /^anomaly_engine_up/m);
      const flows = await getJson<{ type: string; label?: string }[]>(`${url}/flows`);
      const tabs = flows.flatMap(({ type, label }) => (type === 'tab' ? [label] : []));
      assert.ok(tabs.includes('Goodparts: first verdict'));
      const leftOut = (name: string) => said.includes(`${name} is left out: `);
      for (const [name, service, tab] of [
        ['Kafka', 'Kafka', 'Goodparts: Kafka, the inspection'],
        ['MQTT', 'Mosquitto', '']
      ]) {
        const at = address(name)?.replace('mqtt://', '');
        assert.equal(leftOut(service), at === undefined, said);
        if (!at) continue;
        const [host, number] = at.split(':');
        const socket = net.connect(Number(number), host);
        await once(socket, 'connect');
        socket.destroy();
        if (tab && address('Dashboard')) assert.ok(tabs.includes(tab), tabs.join());
      }
      const prometheus = address('Prometheus');
      assert.equal(leftOut('Prometheus'), prometheus === undefined, said);
      if (prometheus) {
        const scraped = () => ask<{ activeTargets: { health: string }[] }>(prometheus, 'targets');
        await until(scraped, ({ activeTargets: [target] }) => target?.health === 'up', 40);
      }
    } finally {
      plant.kill('SIGINT');
    }
    const [code] = await ended;
    assert.equal(code, 0, said);
    await assert.rejects(fetch(`http://127.0.0.1:${port}/`), 'Node-RED is gone');
  });
});
