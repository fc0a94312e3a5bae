import type { Engine, EngineOptions } from '../lib/engine';

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

/**
 * Runs a task that tidies up after itself when its signal aborts; a second Ctrl-C ends the process at once.
 * @throws Interrupted once the task has ended after an abort
 */
export async function interruptible<T>(task: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const abort = () => controller.abort();
  process.once('SIGINT', abort).once('SIGTERM', abort);
  try {
    return await task(controller.signal);
  } catch (error) {
    if (controller.signal.aborted) throw new Interrupted();
    throw error;
  } finally {
    process.off('SIGINT', abort).off('SIGTERM', abort);
  }
}
