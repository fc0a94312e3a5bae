// npm run plant: what a plant has around the inspection, on this machine and without Docker: Kafka, Mosquitto, Prometheus, and a
// Node-RED with the examples that speak with them. What the machine has not is left out, and said.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { build } from './built.mjs';
import * as kafka from './kafka.mjs';
import * as mosquitto from './mosquitto.mjs';
import { freePort, placeFlows, prepare, root, startNodeRed } from './node-red.mjs';
import * as prometheus from './prometheus.mjs';

const usage = `npm run plant [-- options]

  --port <number>  port of Node-RED on this machine (default 1880, or the next free one)
  --home <folder>  where all of them keep their data (default .goodparts/plant of this folder)
  --fresh          start from the shipped flows again; edited flows are kept beside them as flows.edited.json
  --verbose        print everything that Node-RED logs
  --help           this text

Ctrl-C ends all of it. With Docker: docker compose up (docs/plant.md).`;

/** The examples that run beside each other, with what they need of the machine. */
const EXAMPLES = {
  'first-verdict.json': {},
  'inspect-by-http.json': {},
  'http-detector.json': {},
  'http-reference.json': {},
  'http-autoencoder.json': {},
  'http-upload-page.json': {},
  'http-patchcore-kafka.json': { service: 'Kafka' },
  'kafka.json': { service: 'Kafka' },
  'mqtt.json': { service: 'Mosquitto' },
  'dashboard.json': {}
};
const OURS = '@goodparts/node-red-anomaly';
const say = text => console.log(text);
const firstLine = error => error.message.split('\n').find(line => line.trim()) ?? String(error);
/** what is running, in the order in which it was started */
const running = [];

/** Starts something, or says in one line why it is left out. */
async function tryTo(name, start) {
  say(`Starting ${name} ...`);
  try {
    const started = await start();
    running.push(started);
    return started;
  } catch (error) {
    const missing = /ENOENT/.test(error.message) ? 'it is not installed' : firstLine(error);
    say(`${name} is left out: ${missing}`);
    return undefined;
  }
}

function options() {
  const flag = { type: 'boolean', default: false };
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '1880' },
      home: { type: 'string', default: path.join(root, '.goodparts/plant') },
      fresh: flag,
      verbose: flag,
      help: { ...flag, short: 'h' }
    }
  });
  return { ...values, port: Number(values.port), home: path.resolve(process.env.INIT_CWD ?? '.', values.home) };
}

async function startKafka(folder) {
  const broker = await kafka.start({ folder });
  // the Kafka nodes of the flows do not find a topic that comes later
  const wanted = Object.entries(kafka.TOPICS).filter(
    ([topic]) => !fs.existsSync(path.join(folder, 'log', `${topic}-0`))
  );
  await kafka.createTopics(broker.brokers, Object.fromEntries(wanted)).catch(async error => {
    await broker.stop();
    throw error;
  });
  return broker;
}

/** What a flow needs from npm beside Node-RED and this package: palettes, and libraries of its function nodes. */
function modulesOf(nodes) {
  const libraries = nodes.flatMap(({ libs = [] }) => libs.map(({ module }) => module)).filter(name => !isBuiltin(name));
  const named = nodes.filter(({ type }) => type === 'global-config').map(({ modules }) => modules ?? {});
  const all = Object.assign(Object.fromEntries(libraries.map(name => [name, '*'])), ...named);
  return Object.fromEntries(Object.entries(all).filter(([name]) => name !== OURS));
}

/** Installs palettes into the user directory, as the palette manager would. @throws Error with npm's words */
async function install(userDir, dependencies) {
  const file = path.join(userDir, 'package.json');
  const named = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')).dependencies : {};
  const names = Object.keys(dependencies);
  const is = name => named[name] === dependencies[name] && fs.existsSync(path.join(userDir, 'node_modules', name));
  if (names.every(is)) return;
  const text = JSON.stringify({ name: 'goodparts-plant', private: true, dependencies }, null, 2) + '\n';
  say(`Installing ${names.join(', ')} ...`);
  fs.mkdirSync(userDir, { recursive: true });
  fs.writeFileSync(file, text);
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  await promisify(execFile)('npm', args, { cwd: userDir, shell: process.platform === 'win32' });
}

/** The examples in one file. Two have POST /predict: one of them moves. One model shows the metrics of all. */
function merge(flows) {
  const modules = modulesOf(flows.flat());
  const all = flows.flat().filter(({ type }) => type !== 'global-config');
  const moved = all.find(({ type, label }) => type === 'tab' && label === 'Goodparts: autoencoder API');
  if (moved) moved.env.find(({ name }) => name === 'PREDICT').value = '/autoencoder/predict';
  all.find(({ type }) => type === 'anomaly-model').metrics = true;
  return [{ id: 'f1a7c0de5e771e5a', type: 'global-config', env: [], modules }, ...all];
}

/** Reads the examples that this machine can run, and installs what they need. */
async function chooseFlows(userDir, services) {
  let chosen = Object.entries(EXAMPLES).flatMap(([file, { service }]) => {
    const place = path.join(root, 'examples', file);
    if (!fs.existsSync(place) || (service && !services[service])) return [];
    return [JSON.parse(fs.readFileSync(place, 'utf8'))];
  });
  try {
    await install(userDir, modulesOf(chosen.flat()));
  } catch (error) {
    chosen = chosen.filter(nodes => Object.keys(modulesOf(nodes)).length === 0);
    say(`The flows for Kafka and the dashboard are left out, npm cannot install their palettes: ${firstLine(error)}`);
  }
  return chosen;
}

async function main() {
  const { port, home, fresh, verbose, help } = options();
  if (help) return say(usage);
  build(say);
  const place = (...names) => path.join(home, ...names);
  const userDir = place('node-red');
  fs.mkdirSync(userDir, { recursive: true });
  const [Kafka, Mosquitto] = await Promise.all([
    tryTo('Kafka', () => startKafka(place('kafka'))),
    tryTo('Mosquitto', () => mosquitto.start({ folder: place('mosquitto') }))
  ]);
  const flows = await chooseFlows(userDir, { Kafka, Mosquitto });
  prepare(userDir);
  fs.writeFileSync(place('flows.shipped.json'), JSON.stringify(merge(flows), null, 2));
  const { flows: file, kept } = placeFlows(place('flows.shipped.json'), userDir, fresh);
  if (kept) say('The flows were changed in the editor and are kept (npm run plant -- --fresh for the shipped ones).');
  const log = fs.createWriteStream(place('node-red.log'));
  say('Starting Node-RED ...');
  const nodeRed = await startNodeRed({
    red: createRequire(import.meta.url).resolve('node-red/red.js'),
    userDir,
    flows: file,
    port: await freePort(port),
    env: {
      KAFKA_BROKERS: Kafka?.brokers ?? '',
      MQTT_BROKER: Mosquitto?.url ?? '',
      GOODPARTS_STORE: place('node-red/goodparts'),
      GOODPARTS_PICTURES: place('pictures'),
      GOODPARTS_DATASETS: place('datasets'),
      GOODPARTS_DASHBOARD: place('dashboard'),
      PARTS_FOLDER: place('parts'),
      PARTS_LOG: place('parts.log'),
      MQTT_FOLDER: place('mqtt')
    },
    onLine: line => {
      log.write(line + '\n');
      if (verbose || /\[error\]|missing types/.test(line)) say(line);
    }
  });
  running.push(nodeRed);
  const Prometheus = await tryTo('Prometheus', () =>
    prometheus.start({ target: nodeRed.url, folder: place('prometheus') })
  );
  const has = label => flows.flat().some(node => node.type === 'tab' && node.label === label);
  const addresses = [
    ['Editor', `${nodeRed.url}/`],
    has('Goodparts: dashboard') && ['Dashboard', `${nodeRed.url}/dashboard/line`],
    ['Upload page', `${nodeRed.url}/upload`],
    ['HTTP, described', `${nodeRed.url}/openapi.json`],
    ['Metrics', `${nodeRed.url}/anomaly/metrics`],
    Kafka && ['Kafka', Kafka.brokers],
    Mosquitto && ['MQTT', Mosquitto.url],
    Prometheus && ['Prometheus', `${Prometheus.url}/`],
    ['Data', home]
  ];
  say(['', ...addresses.filter(Boolean).map(([name, at]) => `  ${name.padEnd(16)} ${at}`), ''].join('\n'));
  say('Grafana is left out: import docs/monitoring/dashboard.json into yours (docs/monitoring.md).');
  say('Ctrl-C ends it.');
  const all = Object.entries({ Kafka, Mosquitto, Prometheus, 'Node-RED': nodeRed });
  for (const [name, service] of all)
    void service?.ended.then(code => ending || say(`${name} ended by itself (${code}).`));
}

let ending = false;
/** Ends all, the last one first: Node-RED is gone before the brokers are. */
async function stop(code = 0) {
  if (ending) return;
  ending = true;
  say('\nStopping ...');
  for (const service of running.reverse()) await service.stop();
  process.exit(code);
}

process.on('SIGINT', () => void stop()).on('SIGTERM', () => void stop());
main().catch(error => {
  if (ending) return;
  console.error(error.code?.startsWith('ERR_PARSE_ARGS') ? `${error.message}\n\n${usage}` : error);
  void stop(1);
});
