/**
 * Entry point of the engine process. It holds the Engines, answers calls that come over the IPC channel, and ends with it:
 * a Node-RED that is gone leaves no engine behind.
 */
import os from 'node:os';
import v8 from 'node:v8';
import {
  Engine,
  GoodpartsError,
  Resources,
  type DeviceReport,
  type EngineOptions,
  type FitSession,
  type ScoreResult
} from '../engine';
import { Channel, MEMORY_FD, type Envelope } from './channel';
import { PRIORITY, SCORE_HEAP } from './supervisor';
import { usage } from './usage';
import { toWire, toWireScore, type Answer, type Call, type Cancel, type Method, type Methods } from './protocol';

type Handlers = {
  [M in Exclude<Method, 'score'>]: (engine: Engine, ...args: Methods[M]['args']) => Promise<Methods[M]['value']>;
};

// without a callback a channel that closes under a send would raise an 'error' event; 'disconnect' ends the process anyway
const channel = new Channel<Answer, Call | Cancel>(
  envelope => process.send!(envelope, undefined, undefined, () => {}),
  process.argv[3] ? MEMORY_FD : undefined,
  1
);
const engines = new Map<string, Engine>();
/** Stores and limits may differ between the nodes of a flow; backbones and detectors are loaded once for all. */
const resources = new Map<string, Resources>();
/** Between two signs of life of a process that fits. */
const BEAT_MS = 1000;
let session: FitSession | undefined;
/** The score calls that are not answered yet. */
const scoring = new Map<number, AbortController>();

function engineFor(options: EngineOptions): Engine {
  const { device, threads, maxLoaded } = options;
  const onDevice = (report: DeviceReport): void => answer({ device: report });
  const shared = known(resources, { device, threads, maxLoaded }, o => new Resources({ ...o, onDevice }));
  return known(engines, options, o => new Engine(o, shared));
}

function known<O, T>(things: Map<string, T>, options: O, make: (options: O) => T): T {
  const key = JSON.stringify(options);
  const thing = things.get(key) ?? make(options);
  things.set(key, thing);
  return thing;
}

function currentSession(): FitSession {
  if (!session) throw new GoodpartsError('fit-aborted', 'No fit is under way.');
  return session;
}

const handlers: Handlers = {
  load: (engine, ...args) => engine.load(...args),
  list: engine => engine.list(),
  delete: (engine, ...args) => engine.delete(...args),
  activate: (engine, ...args) => engine.activate(...args),
  device: engine => engine.device(),
  doctor: (engine, ...args) => engine.doctor(...args),
  plan: (engine, ...args) => engine.plan(...args),
  usage: async () => usage(),
  'fit.start': async (engine, name, settings, resume) => {
    session?.abort();
    session = await engine.startFit(name, settings, { onProgress: progress => answer({ progress }), resume });
  },
  'fit.add': async (_engine, image) => {
    const open = currentSession();
    await open.add(image);
    return open.images;
  },
  'fit.finish': async () => {
    const open = currentSession();
    try {
      return await open.finish();
    } finally {
      if (session === open) session = undefined;
    }
  },
  'fit.pause': async (_engine, pause) => {
    const open = currentSession();
    if (!open.pause || !open.resume)
      throw new GoodpartsError('fit-settings', 'Only a training can be paused; this fit trains no network.');
    if (pause) open.pause();
    else open.resume();
  },
  'fit.abort': async () => {
    session?.abort();
    session = undefined;
  }
};

function answer(message: Answer): void {
  if (process.connected) channel.send(message);
}

async function score(id: number, engine: Engine, [name, images, options]: Methods['score']['args']): Promise<void> {
  const taken = new AbortController();
  scoring.set(id, taken);
  try {
    const onEntry = (entry: ScoreResult | Error) => answer({ id, part: toWireScore(entry) });
    await engine.score(name, images, { ...options, signal: taken.signal, onEntry });
  } finally {
    scoring.delete(id);
  }
}

async function serve(envelope: Envelope): Promise<void> {
  const message = channel.received(envelope);
  if ('cancel' in message) return scoring.get(message.cancel)?.abort();
  const { id, engine: options, method, args } = message;
  try {
    const engine = engineFor(options);
    if (method === 'score') answer({ id, value: await score(id, engine, args as Methods['score']['args']) });
    else {
      const handler = handlers[method] as (engine: Engine, ...args: unknown[]) => Promise<unknown>;
      answer({ id, value: await handler(engine, ...args) });
    }
  } catch (error) {
    answer({ id, error: toWire(error) });
  }
}

function lowerPriority(by: number): void {
  try {
    os.setPriority(Math.min(19, os.getPriority() + by));
  } catch {
    // not allowed here: the engine then competes with Node-RED, which is slower but right
  }
}

if (!process.send) {
  console.error('This is the engine process of Goodparts; Node-RED starts it.');
  process.exit(2);
}
// before any native thread starts: threads take over the priority of the one that made them
const priority = Number(process.argv[2]);
lowerPriority(priority);
if (priority === PRIORITY.score) v8.setFlagsFromString(SCORE_HEAP);
// ONNX Runtime holds this thread while it computes: no beat comes from a fit whose device hangs
else setInterval(() => answer({ alive: true }), BEAT_MS).unref();
process.on('disconnect', () => process.exit());
// Ctrl+C reaches the whole process group; the parent decides when this process ends
process.on('SIGINT', () => {});
process.on('message', envelope => void serve(envelope as Envelope));
answer({ ready: true });
