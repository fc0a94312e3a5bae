// From the start of a Node-RED process to the first score.
import fs from 'node:fs';
import path from 'node:path';
import { starter } from './node-red-load';
import { nodesOn } from './flow';

/** Milliseconds since Node-RED's process was spawned. */
export type Parts = Record<'flowsStarted' | 'detectorLoaded' | 'firstScore', number>;

const NOTE = `
const file = env.get('BENCH_RESULT');
const note = (what) => fs.appendFileSync(file, what + ' ' + Date.now() + '\\n');
if (msg.status && msg.status.text.startsWith('bench ')) note('detectorLoaded');
else if (msg.payload && msg.payload.score !== undefined) note('firstScore');
`;

function flow(store: string): unknown[] {
  const [tab, model, inject, feed, score, note, status] = Array.from({ length: 7 }, (_, i) => `c01d00000000000${i}`);
  const node = nodesOn(tab);
  const libs = [{ var: 'fs', module: 'fs' }];
  const read = "return { payload: fs.readFileSync(env.get('BENCH_PICTURE')) };";
  return [
    { id: tab, type: 'tab', label: 'cold start' },
    { id: model, type: 'anomaly-model', detector: 'bench', store, device: 'auto' },
    node(inject, 'inject', [[feed]], { props: [{ p: 'payload' }], once: true, onceDelay: 0.01, repeat: '' }),
    node(feed, 'function', [[score]], { func: read, outputs: 1, libs }),
    node(score, 'anomaly-score', [[note], []], { model, image: 'payload', imageType: 'msg', recipe: '', map: true }),
    node(status, 'status', [[note]], { scope: [score] }),
    node(note, 'function', [[]], { func: NOTE, outputs: 1, libs })
  ];
}

async function once(store: string, picture: string, userDir: string): Promise<Parts> {
  const { prepare, startNodeRed, freePort } = await starter();
  fs.mkdirSync(userDir, { recursive: true });
  prepare(userDir);
  const flows = path.join(userDir, 'cold.json');
  const result = path.join(userDir, 'cold.txt');
  fs.writeFileSync(flows, JSON.stringify(flow(store)));
  fs.rmSync(result, { force: true });
  const port = await freePort(18900);
  const began = Date.now();
  let flowsStarted = 0;
  const server = await startNodeRed({
    red: require.resolve('node-red/red.js'),
    userDir,
    flows,
    port,
    env: { BENCH_PICTURE: picture, BENCH_RESULT: result },
    onLine: line => {
      if (line.includes('Started flows')) flowsStarted = Date.now() - began;
    }
  });
  try {
    const read = (): string => (fs.existsSync(result) ? fs.readFileSync(result, 'utf8') : '');
    for (const until = Date.now() + 60_000; !read().includes('firstScore');) {
      if (Date.now() > until) throw new Error(`No score within a minute. Seen: ${read()}`);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
    const at = (what: string): number => Number(new RegExp(`${what} (\\d+)`).exec(read())?.[1] ?? NaN) - began;
    return {
      flowsStarted,
      detectorLoaded: at('detectorLoaded'),
      firstScore: at('firstScore')
    };
  } finally {
    await server.stop();
  }
}

/** @param store holds the detector `bench` */
export async function coldStart(store: string, picture: string, userDir: string, count: number): Promise<Parts[]> {
  const all: Parts[] = [];
  for (let i = 0; i < count; i++) all.push(await once(store, picture, userDir));
  return all;
}
