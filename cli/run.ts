import type { Engine, EngineOptions } from '../lib/engine';
import { EXIT } from './command';

/** Ctrl-C, or a polite kill. */
export class Interrupted extends Error {}

/** An engine for the time of one task. It is loaded only here, so that help and usage errors need none of its libraries. */
export async function withEngine<T>(options: EngineOptions, task: (engine: Engine) => Promise<T>): Promise<T> {
  const { Engine } = await import('../lib/engine/index.js');
  const engine = new Engine(options);
  try {
    return await task(engine);
  } finally {
    await engine.close();
  }
}

/** How long a task may tidy up before its process is ended all the same. */
const PATIENCE = 5000;

/**
 * Runs a task that tidies up after itself when its signal aborts. A second signal ends the process at once, and the first one does
 * when the task has not ended within `PATIENCE`.
 * @throws Interrupted once the task has ended after an abort
 */
export async function interruptible<T>(task: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let force: NodeJS.Timeout | undefined;
  const ignore = () => void process.off('SIGINT', abort).off('SIGTERM', abort);
  const abort = () => {
    ignore();
    controller.abort();
    force = setTimeout(() => process.exit(EXIT.interrupted), PATIENCE);
  };
  process.on('SIGINT', abort).on('SIGTERM', abort);
  try {
    return await task(controller.signal);
  } catch (error) {
    if (controller.signal.aborted) throw new Interrupted();
    throw error;
  } finally {
    clearTimeout(force);
    ignore();
  }
}
