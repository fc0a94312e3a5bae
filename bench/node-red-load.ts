import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

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
  }): Promise<{ stop(): Promise<number> }>;
}

/** What the function node at the end of the flow writes down. */
interface Measured {
  scored: number;
  perSecond: number;
  /** delay of Node-RED's event loop while scoring back to back, milliseconds */
  eventLoopDelayMs: { p50: number; p99: number; max: number };
  rssMb: { start: number; end: number };
}

/** Pictures under way at the same time: enough that the engine never waits for the next one. */
const AHEAD = 6;

/** Keeps AHEAD pictures under way: sends them at the start, and a new one for each that comes back. */
const FEED = `
const next = () => { const i = flow.get('i') || 0; flow.set('i', i + 1); return { payload: fs.readFileSync(files[i % files.length]) }; };
const files = env.get('BENCH_PICTURES').split(',');
for (let i = 0; i < (msg.first ? ${AHEAD} : 1); i++) node.send(next());
`;

const MEASURE = `
const state = context.get('state');
if (!state) {
  const delay = hooks.monitorEventLoopDelay({ resolution: 1 });
  context.set('state', { delay, n: -${AHEAD}, rss: process.memoryUsage().rss });
} else {
  state.n++;
  if (state.n === 0) { state.delay.enable(); state.start = Date.now(); }
  const seconds = (Date.now() - state.start) / 1000;
  if (seconds > Number(env.get('BENCH_SECONDS'))) {
    const ms = ns => Math.round(ns / 1e4) / 100;
    const d = state.delay;
    fs.writeFileSync(env.get('BENCH_RESULT'), JSON.stringify({
      scored: state.n, perSecond: Math.round(100 * state.n / seconds) / 100,
      eventLoopDelayMs: { p50: ms(d.percentile(50)), p99: ms(d.percentile(99)), max: ms(d.max) },
      rssMb: { start: Math.round(state.rss / 1e6), end: Math.round(process.memoryUsage().rss / 1e6) }
    }));
    return null;
  }
}
return {};
`;

function flow(store: string): unknown[] {
  const tab = 'c0ffee0000000001';
  const model = 'c0ffee0000000002';
  const node = (id: string, type: string, wires: string[][], more: object) => ({
    id,
    type,
    z: tab,
    x: 200,
    y: 100,
    wires,
    ...more
  });
  const libs = [
    { var: 'fs', module: 'fs' },
    { var: 'hooks', module: 'perf_hooks' },
    { var: 'process', module: 'process' }
  ];
  const [inject, feed, score, measure] = ['3', '4', '5', '6'].map(n => `c0ffee000000000${n}`);
  return [
    { id: tab, type: 'tab', label: 'bench' },
    { id: model, type: 'anomaly-model', detector: 'bench', store, device: 'cpu' },
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

/** Scores back to back in a real Node-RED process and reports the delay of its event loop. */
export async function nodeRedLoad(
  store: string,
  pictures: Buffer[],
  seconds: number,
  userDir: string
): Promise<Measured> {
  fs.mkdirSync(userDir, { recursive: true });
  const files = pictures.map((bytes, i) => {
    const file = path.join(userDir, `picture-${i}`);
    fs.writeFileSync(file, bytes);
    return file;
  });
  const result = path.join(userDir, 'result.json');
  fs.writeFileSync(path.join(userDir, 'flows.json'), JSON.stringify(flow(store)));
  const { prepare, startNodeRed, freePort } = (await import(
    pathToFileURL(path.join(ROOT, 'scripts/node-red.mjs')).href
  )) as Starter;
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
  const deadline = Date.now() + (seconds + 90) * 1000;
  try {
    while (!fs.existsSync(result)) {
      if (Date.now() > deadline) throw new Error(`Node-RED gave no result:\n${output.slice(-3000)}`);
      await new Promise(resolve => setTimeout(resolve, 250));
    }
  } finally {
    await server.stop();
  }
  return JSON.parse(fs.readFileSync(result, 'utf8')) as Measured;
}
