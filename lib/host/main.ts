/**
 * Entry point of the engine process. It holds the Engines, answers calls that come over the IPC channel, and ends with it:
 * a Node-RED that is gone leaves no engine behind.
 */
import os from 'node:os';
import { Engine, GoodpartsError, Resources, type EngineOptions, type FitSession, type ScoreResult } from '../engine';
import { toWire, toWireScore, type Answer, type Call, type Method, type Methods } from './protocol';

type Handlers = { [M in Method]: (engine: Engine, ...args: Methods[M]['args']) => Promise<Methods[M]['value']> };

const engines = new Map<string, Engine>();
/** Stores and limits may differ between the nodes of a flow; backbones and detectors are loaded once for all. */
const resources = new Map<string, Resources>();
let session: FitSession | undefined;

function engineFor(options: EngineOptions): Engine {
  const { device, threads, maxLoaded } = options;
  const shared = known(resources, { device, threads, maxLoaded }, o => new Resources(o));
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
  score: (engine, ...args) => engine.score(...args),
  load: (engine, ...args) => engine.load(...args),
  list: engine => engine.list(),
  delete: (engine, ...args) => engine.delete(...args),
  activate: (engine, ...args) => engine.activate(...args),
  device: engine => engine.device(),
  doctor: (engine, ...args) => engine.doctor(...args),
  'fit.start': async (engine, name, settings) => {
    session?.abort();
    session = await engine.startFit(name, settings, { onProgress: progress => answer({ progress }) });
  },
  'fit.add': async (_engine, image) => {
    const open = currentSession();
    await open.add(image);
    return open.images;
  },
  'fit.finish': async () => {
    const open = currentSession();
    session = undefined;
    return open.finish();
  },
  'fit.abort': async () => {
    session?.abort();
    session = undefined;
  }
};

function answer(message: Answer): void {
  // without a callback a channel that closes under a send would raise an 'error' event; 'disconnect' ends the process anyway
  if (process.connected) process.send!(message, undefined, undefined, () => {});
}

async function serve({ id, engine, method, args }: Call): Promise<void> {
  try {
    const handler = handlers[method] as (engine: Engine, ...args: unknown[]) => Promise<unknown>;
    const value = await handler(engineFor(engine), ...args);
    if (method === 'score') for (const entry of value as ScoreResult[]) answer({ id, part: toWireScore(entry) });
    answer({ id, value: method === 'score' ? undefined : value });
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
lowerPriority(Number(process.argv[2]));
process.on('disconnect', () => process.exit());
// Ctrl+C reaches the whole process group; the parent decides when this process ends
process.on('SIGINT', () => {});
process.on('message', message => void serve(message as Call));
answer({ ready: true });
