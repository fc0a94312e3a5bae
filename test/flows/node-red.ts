/** A real Node-RED process with this package in its palette, for the tests of whole flows. */
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, scratch } from '../support';
import { addPalette, type Modules } from './palette';

export interface NodeRedOptions {
  /** flow file; it is copied, so that nothing changes it */
  flows: string;
  env?: Record<string, string>;
  /** palettes of other authors beside this package, see palette.ts */
  palette?: Modules;
  /** Node-RED's red.js; default: the one this repository develops with */
  red?: string;
  /** Node.js binary; default: the one that runs the tests */
  node?: string;
  onLine?: (line: string) => void;
}

export interface NodeRed {
  /** where it listens, with no slash at the end */
  url: string;
  userDir: string;
  /** lines that it logged so far */
  log: string[];
  /** Ends it as Ctrl-C does, and gives its exit code. */
  stop: () => Promise<number>;
  /** Ends it at once, as a power cut does: it can finish nothing. */
  kill: () => Promise<number>;
  pid: number;
}

interface Starter {
  placeFlows(shipped: string, userDir: string, fresh?: boolean): { flows: string; kept: boolean };
  prepare(userDir: string): void;
  freePort(wanted: number): Promise<number>;
  startNodeRed(options: object): Promise<{
    url: string;
    child: ChildProcess;
    ended: Promise<number>;
    stop: () => Promise<number>;
  }>;
}

/** The scripts are ES modules beside dist/, so they are imported by their place and not by a relative name. */
export const starter = (): Promise<Starter> => import(pathToFileURL(path.join(ROOT, 'scripts/node-red.mjs')).href);

/**
 * Starts Node-RED in a user directory of its own, and waits until its flows run.
 * @throws Error with Node-RED's log when it ends, or does not run within three minutes
 */
export async function startNodeRed({ flows, env, palette = {}, red, node, onLine }: NodeRedOptions): Promise<NodeRed> {
  const { prepare, freePort, startNodeRed: start } = await starter();
  const userDir = scratch();
  prepare(userDir);
  await addPalette(userDir, palette);
  const copy = path.join(userDir, 'flows.json');
  await fs.copyFile(flows, copy);
  const log: string[] = [];
  const { url, child, ended, stop } = await start({
    red: red ?? require.resolve('node-red/red.js'),
    node,
    userDir,
    flows: copy,
    port: await freePort(19000 + Math.floor(Math.random() * 900)),
    env,
    onLine: (line: string) => {
      log.push(line);
      onLine?.(line);
    }
  });
  const kill = () => {
    child.kill('SIGKILL');
    return ended;
  };
  return { url, userDir, log, stop, kill, pid: child.pid! };
}

export async function getJson<T>(url: string): Promise<T> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return (await response.json()) as T;
}

/** Asks until `holds`; the error says what was there last. */
export async function until<T>(ask: () => Promise<T>, holds: (value: T) => boolean, seconds: number): Promise<T> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = await ask();
    if (holds(value)) return value;
    if (Date.now() > end)
      throw new Error(`Not so within ${seconds} s; at last: ${JSON.stringify(value).slice(0, 1000)}`);
    await new Promise(resolve => setTimeout(resolve, 250));
  }
}

/** MB of memory of a process: when the watch began, and the most since; the call that it gives ends it. Skips where there is no /proc. */
export function watchMemory(context: Mocha.Context, pid: number): () => { before: number; most: number } {
  const file = `/proc/${pid}/status`;
  if (!existsSync(file)) {
    console.log('      skipped: this system has no /proc');
    context.skip();
  }
  const memory = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(file, 'utf8'))![1]) / 1024;
  const before = memory();
  let most = before;
  const look = setInterval(() => (most = Math.max(most, memory())), 100);
  return () => {
    clearInterval(look);
    return { before, most };
  };
}
