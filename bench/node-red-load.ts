import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { children, usage } from './proc';
import { round } from './rounds';
import { nodesOn } from './flow';

const ROOT = path.resolve(__dirname, '../..');

/** scripts/node-red.mjs, which has no types of its own. */
interface Starter {
  prepare(userDir: string): void;
  freePort(wanted: number): Promise<number>;
  startNodeRed(options: {
    red: string;
    userDir: string;
    flows: string;
    port: number;
    env: Record<string, string>;
    onLine(line: string): void;
  }): Promise<{ child: { pid?: number }; stop(): Promise<number> }>;
}

/** How this repository starts a Node-RED. */
export const starter = async (): Promise<Starter> =>
  (await import(pathToFileURL(path.join(ROOT, 'scripts/node-red.mjs')).href)) as Starter;

/** What the function node at the end of the flow writes down. */
export interface Measured {
  scored: number;
  perSecond: number;
  /** delay of Node-RED's event loop while scoring back to back, milliseconds */
  eventLoopDelayMs: { p50: number; p99: number; max: number };
  rssMb: { start: number; end: number };
  /** processor time a picture, milliseconds */
  cpuMs: { nodeRed: number; engine: number };
}

/** Pictures under way at the same time: enough that the engine never waits for the next one. */
const AHEAD = 6;

/** Keeps AHEAD pictures under way: sends them at the start, and a new one for each that comes back. They are in memory, as the bare engine's. */
const FEED = `
const pictures = context.get('pictures') || env.get('BENCH_PICTURES').split(',').map(file => fs.readFileSync(file));
context.set('pictures', pictures);
let i = context.get('i') || 0;
for (const last = i + (msg.first ? ${AHEAD} : 1); i < last; i++) node.send({ payload: pictures[i % pictures.length] }, false);
context.set('i', i);
`;

/** How often the delay is looked at, ms; every millisecond would itself cost a picture's worth of time in fifteen. */
const RESOLUTION = 10;

const MEASURE = `
const state = context.get('state');
if (!state) {
  const delay = hooks.monitorEventLoopDelay({ resolution: ${RESOLUTION} });
  context.set('state', { delay, n: -${AHEAD}, rss: process.memoryUsage().rss });
} else {
  state.n++;
  if (state.n === 0) { state.delay.enable(); state.start = Date.now(); state.cpu = process.cpuUsage(); fs.writeFileSync(env.get('BENCH_RESULT') + '.start', ''); }
  const seconds = (Date.now() - state.start) / 1000;
  if (seconds > Number(env.get('BENCH_SECONDS'))) {
    const ms = ns => Math.round(Math.max(0, ns / 1e6 - ${RESOLUTION}) * 100) / 100;
    const d = state.delay;
    const cpu = process.cpuUsage(state.cpu);
    const per = total => Math.round(100 * total / state.n) / 100;
    fs.writeFileSync(env.get('BENCH_RESULT') + '.part', JSON.stringify({
      scored: state.n, perSecond: Math.round(100 * state.n / seconds) / 100,
      cpuMs: { nodeRed: per((cpu.user + cpu.system) / 1000) },
      eventLoopDelayMs: { p50: ms(d.percentile(50)), p99: ms(d.percentile(99)), max: ms(d.max) },
      rssMb: { start: Math.round(state.rss / 1e6), end: Math.round(process.memoryUsage().rss / 1e6) }
    }));
    // whoever waits for the file finds it whole
    fs.renameSync(env.get('BENCH_RESULT') + '.part', env.get('BENCH_RESULT'));
    return null;
  }
}
return {};
`;

function flow(store: string, detector: string): unknown[] {
  const tab = 'c0ffee0000000001';
  const model = 'c0ffee0000000002';
  const node = nodesOn(tab);
  const libs = [
    { var: 'fs', module: 'fs' },
    { var: 'hooks', module: 'perf_hooks' },
    { var: 'process', module: 'process' }
  ];
  const [inject, feed, score, measure] = ['3', '4', '5', '6'].map(n => `c0ffee000000000${n}`);
  return [
    { id: tab, type: 'tab', label: 'bench' },
    { id: model, type: 'anomaly-model', detector, store, device: 'cpu' },
    node(inject, 'inject', [[feed]], {
      props: [{ p: 'first', v: 'true', vt: 'bool' }],
      once: true,
      onceDelay: 0.5,
      repeat: ''
    }),
    node(feed, 'function', [[score]], { func: FEED, outputs: 1, libs }),
    node(score, 'anomaly-score', [[measure], []], {
      model,
      image: 'payload',
      imageType: 'msg',
      recipe: '',
      recipeType: 'msg',
      queue: 100,
      policy: 'wait',
      batch: 1,
      map: true
    }),
    node(measure, 'function', [[feed]], { func: MEASURE, outputs: 1, libs })
  ];
}

export interface Load {
  store: string;
  detector: string;
  pictures: Buffer[];
  seconds: number;
  /** of this Node-RED; made when missing */
  userDir: string;
}

/** A real Node-RED that scores back to back for so many seconds, beginning on its own. */
export async function startLoad({ store, detector, pictures, seconds, userDir }: Load) {
  fs.mkdirSync(userDir, { recursive: true });
  const files = pictures.map((bytes, i) => {
    const file = path.join(userDir, `picture-${i}`);
    fs.writeFileSync(file, bytes);
    return file;
  });
  const result = path.join(userDir, 'result.json');
  for (const file of [result, `${result}.start`]) fs.rmSync(file, { force: true });
  fs.writeFileSync(path.join(userDir, 'flows.json'), JSON.stringify(flow(store, detector)));
  const { prepare, startNodeRed, freePort } = await starter();
  prepare(userDir);
  let output = '';
  const server = await startNodeRed({
    red: require.resolve('node-red/red.js'),
    userDir,
    flows: path.join(userDir, 'flows.json'),
    port: await freePort(18800),
    env: { BENCH_PICTURES: files.join(','), BENCH_SECONDS: String(seconds), BENCH_RESULT: result },
    onLine: line => (output += line + '\n')
  });
  const wait = async (file: string, most: number): Promise<void> => {
    const deadline = Date.now() + most * 1000;
    while (!fs.existsSync(file)) {
      if (Date.now() > deadline) throw new Error(`Node-RED gave no result:\n${output.slice(-3000)}`);
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  };
  return {
    pid: server.child.pid!,
    stop: () => server.stop(),
    /** Waits until the first pictures are scored; gives the process id of the engine. */
    async begun(): Promise<number> {
      await wait(`${result}.start`, 90);
      return children(server.child.pid!)[0];
    },
    async ended(): Promise<Measured> {
      await wait(result, seconds + 90);
      return JSON.parse(fs.readFileSync(result, 'utf8')) as Measured;
    }
  };
}

/** Scores back to back in a real Node-RED process; reports throughput, the delay of its event loop and who took the time. */
export async function nodeRedLoad(load: Load): Promise<Measured> {
  const server = await startLoad(load);
  try {
    const engine = await server.begun();
    const before = usage(engine).cpu;
    const measured = await server.ended();
    // a few more pictures were scored until now than counted: AHEAD at the most
    const cpu = (usage(engine).cpu - before) / (measured.scored + 1);
    return { ...measured, cpuMs: { ...measured.cpuMs, engine: round(cpu) } };
  } finally {
    await server.stop();
  }
}
