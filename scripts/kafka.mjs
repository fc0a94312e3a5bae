// A Kafka broker on this machine, without Docker: one node (KRaft) from the jars of Maven Central. For tests and trials.
//   node scripts/kafka.mjs [--port 9092] [--data <folder>]     runs one, with the topics of examples/kafka.json, until Ctrl-C
import { execFile, spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { freePort } from './node-red.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const pom = path.join(root, 'scripts/kafka/pom.xml');
const run = promisify(execFile);

/** What examples/kafka.json reads and writes, with the number of partitions. */
export const TOPICS = { parts: 6, verdicts: 1, overlays: 1, rejected: 1 };

/** Pictures of 8 MB come in messages of 8 MB and a little; Kafka's own limit is 1 MB. */
export const MOST_BYTES = 16 * 2 ** 20;

/**
 * Fetches the broker's jars once; kept in test/.cache.
 * @returns {Promise<string>} the folder with the jars
 * @throws Error with Maven's words where they cannot be fetched
 */
export async function jars() {
  const key = createHash('sha256').update(fs.readFileSync(pom)).digest('hex').slice(0, 16);
  const folder = path.join(root, 'test/.cache/kafka', key);
  if (fs.existsSync(folder)) return folder;
  fs.mkdirSync(path.dirname(folder), { recursive: true });
  // fetched beside and renamed, so that half of them is never taken for all
  const draft = fs.mkdtempSync(folder);
  const args = ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${draft}`];
  await run('mvn', args).catch(error => {
    throw new Error(`Maven did not fetch Kafka:\n${error.stdout || error.message}`);
  });
  if (fs.existsSync(folder)) fs.rmSync(draft, { recursive: true, force: true });
  else fs.renameSync(draft, folder);
  return folder;
}

/** Quick to start, and modest: the machine has other work. */
const JAVA = [
  '-Xms128m',
  '-Xmx768m',
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
  '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
  '-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info'
];

function properties({ folder, port, controller, settings }) {
  const all = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': path.join(folder, 'log').replaceAll('\\', '/'),
    'message.max.bytes': MOST_BYTES,
    'num.partitions': 6,
    // one broker can keep one copy only
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 3,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'group.initial.rebalance.delay.ms': 500,
    ...settings
  };
  return Object.entries(all)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('');
}

/**
 * Starts a broker and waits until it serves.
 * @param {object} [options]
 * @param {number} [options.port] default: the first free one from 9092
 * @param {string} [options.folder] where it keeps its data; a broker that was stopped goes on there. Default: a new one under
 *   the system's folder for temporary files, removed when it stops
 * @param {Record<string, string | number>} [options.settings] more of the broker's settings
 * @param {(line: string) => void} [options.onLine] gets every line that the broker logs
 * @returns {Promise<{brokers: string, port: number, folder: string, log: string[], ended: Promise<number>, stop: () => Promise<void>}>}
 *   brokers: the address for clients; stop: ends it as Ctrl-C does
 * @throws Error with the broker's log when it ends, or does not serve within two minutes
 */
export async function start({ port, folder, settings = {}, onLine } = {}) {
  const classpath = path.join(await jars(), '*');
  const own = folder === undefined;
  const home = folder ?? fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-kafka-'));
  fs.mkdirSync(home, { recursive: true });
  const chosen = port ?? (await freePort(9092));
  const config = path.join(home, 'server.properties');
  const controller = await freePort(chosen + 1);
  fs.writeFileSync(config, properties({ folder: home, port: chosen, controller, settings }));
  if (!fs.existsSync(path.join(home, 'log/meta.properties'))) {
    // it may begin with a dash
    const id = Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url');
    await run('java', [
      ...JAVA,
      '-cp',
      classpath,
      'kafka.tools.StorageTool',
      'format',
      `--cluster-id=${id}`,
      '-c',
      config
    ]);
  }
  const child = spawn('java', [...JAVA, '-cp', classpath, 'kafka.Kafka', config], {
    stdio: ['ignore', 'pipe', 'pipe']
  });
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', code => resolve(code ?? 1));
  });
  const orphaned = () => child.kill('SIGKILL');
  process.once('exit', orphaned);
  void ended.catch(() => {}).finally(() => process.off('exit', orphaned));
  const log = [];
  const stop = async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 20_000);
    await ended;
    clearTimeout(late);
    if (own) fs.rmSync(home, { recursive: true, force: true });
  };
  await new Promise((resolve, reject) => {
    let why = 'ended while it was starting';
    const late = setTimeout(() => {
      why = 'did not serve within two minutes';
      void stop();
    }, 120_000);
    void ended
      .then(() => reject(new Error(`Kafka ${why}:\n${log.join('\n')}`)), reject)
      .finally(() => clearTimeout(late));
    const take = text => {
      for (const line of text.split('\n').filter(Boolean)) {
        log.push(line);
        if (log.length > 200) log.shift();
        onLine?.(line);
        if (!/Kafka Server started/.test(line)) continue;
        clearTimeout(late);
        resolve();
      }
    };
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', take);
  });
  return { brokers: `127.0.0.1:${chosen}`, port: chosen, folder: home, log, ended, stop };
}

/** Makes topics that are not there yet; takes seconds, as each is a Java program of its own. */
export async function createTopics(brokers, topics = TOPICS) {
  const classpath = path.join(await jars(), '*');
  const tool = [...JAVA, '-cp', classpath, 'org.apache.kafka.tools.TopicCommand', '--bootstrap-server', brokers];
  for (const [topic, partitions] of Object.entries(topics))
    await run('java', [...tool, '--create', '--if-not-exists', '--topic', topic, '--partitions', String(partitions)]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { port: { type: 'string' }, data: { type: 'string' } } });
  const broker = await start({
    port: values.port && Number(values.port),
    folder: values.data && path.resolve(values.data),
    onLine: line => console.log(line)
  });
  await createTopics(broker.brokers);
  console.log(`Kafka serves on ${broker.brokers}; its data is in ${broker.folder}. Ctrl-C ends it.`);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void broker.stop());
}
