import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { writeSample } from '../../lib/sample';
import { MqttClient } from '../services/mosquitto';
import { ask } from '../services/prometheus';
import { ROOT, scratch } from '../support';
import { fitDisc } from './kafka-flow';
import { getJson, until } from './node-red';
import { addPalette, INSTALLING, modulesOf } from './palette';

interface FlowNode {
  id: string;
  type: string;
  z?: string;
  name?: string;
  label?: string;
}

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
  this.timeout(INSTALLING);

  it('starts what the machine has, judges parts, says what it left out, and ends all of it at Ctrl-C', async () => {
    const home = scratch();
    // as at its second start: npm has brought the palettes
    const examples = fs.readdirSync(path.join(ROOT, 'examples')).filter(name => name.endsWith('.json'));
    const modules = modulesOf(examples.flatMap(name => JSON.parse(read('examples', name)) as FlowNode[]));
    await addPalette(path.join(home, 'node-red'), modules);
    // else the dashboard draws some, which takes longer
    await writeSample(path.join(home, 'dashboard/sample'), { train: 2, test: 1, size: 96 });
    await fitDisc(path.join(home, 'node-red/goodparts'));
    const port = 18100 + Math.floor(Math.random() * 700);
    const args = [path.join(ROOT, 'scripts/plant.mjs'), '--home', home, '--port', String(port)];
    const plant = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(plant, 'exit') as Promise<[number]>;
    let said = '';
    for (const stream of [plant.stdout, plant.stderr]) stream.setEncoding('utf8').on('data', text => (said += text));
    let mqtt: MqttClient | undefined;
    try {
      await until(
        async () => said,
        text => text.includes('Ctrl-C ends it.') || plant.exitCode !== null,
        360
      );
      const address = (name: string) => new RegExp(`^ +${name} +(\\S+)$`, 'm').exec(said)?.[1].replace(/\/$/, '');
      const url = address('Editor')!;
      assert.ok(url, said);
      for (const page of ['/upload', '/openapi.json', '/dashboard/line'])
        assert.equal((await fetch(url + page)).status, 200, page);
      for (const name of ['Kafka', 'Mosquitto', 'Prometheus']) {
        const shown = address(name === 'Mosquitto' ? 'MQTT' : name);
        assert.equal(said.includes(`${name} is left out: `), shown === undefined, said);
      }
      const nodes = await getJson<FlowNode[]>(`${url}/flows`);
      const press = (tab: string, name: string) => {
        const { id: z } = nodes.find(node => node.type === 'tab' && node.label === tab)!;
        const { id } = nodes.find(node => node.z === z && node.type === 'inject' && node.name === name)!;
        return fetch(`${url}/inject/${id}`, { method: 'POST' });
      };
      const judged = () => {
        const log = path.join(home, 'parts.log');
        const lines = fs.existsSync(log) ? fs.readFileSync(log, 'utf8').trim().split('\n') : [];
        return lines.filter(line => /"verdict":"(ok|review|ng)"/.test(line));
      };
      if (address('Kafka')) {
        await press('Goodparts: Kafka, the line', 'camera: 10 parts');
        await until(
          async () => judged(),
          all => all.length === 10,
          90
        );
      }
      if (address('MQTT')) {
        mqtt = await MqttClient.to(address('MQTT')!, 'line1/verdict');
        await press('Goodparts: MQTT', 'camera: 5 parts');
        const { heard } = mqtt;
        await until(
          async () => heard.length,
          count => count === 5,
          60
        );
      }
      const prometheus = address('Prometheus');
      if (prometheus) {
        const scraped = () => ask<{ activeTargets: { health: string }[] }>(prometheus, 'targets');
        await until(scraped, ({ activeTargets: [target] }) => target?.health === 'up', 40);
      }
    } finally {
      await mqtt?.close();
      plant.kill('SIGINT');
    }
    const [code] = await ended;
    assert.equal(code, 0, said);
    const processes = () => spawnSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).stdout ?? '';
    const left = async () =>
      processes()
        .split('\n')
        .filter(line => line.includes(home));
    await until(left, lines => lines.length === 0, 10);
    await assert.rejects(fetch(`http://127.0.0.1:${port}/`), 'Node-RED is gone');
  });
});
