// Programs of the system that serve on this machine while something else runs: Mosquitto, Prometheus.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** Lines of its log that are kept. */
const KEPT = 200;

/** A folder for a program's data; without a given one a new one, under the system's folder for temporary files, that is the caller's to remove. */
export function homeOf(name, folder) {
  const home = folder ?? fs.mkdtempSync(path.join(os.tmpdir(), `goodparts-${name}-`));
  fs.mkdirSync(home, { recursive: true });
  return home;
}

/**
 * Starts a program and waits until it serves; it ends with this process at the latest.
 * @param {object} options
 * @param {string} options.name what people call it
 * @param {string[]} options.command the program and its arguments
 * @param {string} options.home its working folder
 * @param {boolean} options.own whether the folder is removed when it stops
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {number} options.port for the error
 * @param {() => Promise<boolean>} options.serves
 * @param {number} options.seconds that it may take until it does
 * @param {(line: string) => void} [options.onLine]
 * @returns {Promise<{log: string[], ended: Promise<number>, stop: () => Promise<void>}>} stop: ends it as Ctrl-C does
 * @throws Error with its log when it ends, or does not serve in time
 */
export async function startService({ name, command, home, own, env, port, serves, seconds, onLine }) {
  const [program, ...args] = command;
  const child = spawn(program, args, { cwd: home, env: env ?? process.env, stdio: ['ignore', 'pipe', 'pipe'] });
  const log = [];
  let over = false;
  const ended = new Promise(resolve => {
    child.once('error', error => {
      log.push(error.message);
      resolve(1);
    });
    child.once('exit', code => resolve(code ?? 1));
  });
  const orphaned = () => child.kill('SIGKILL');
  process.once('exit', orphaned);
  void ended.then(() => {
    over = true;
    process.off('exit', orphaned);
  });
  const take = text => {
    for (const line of text.split('\n').filter(Boolean)) {
      log.push(line);
      if (log.length > KEPT) log.shift();
      onLine?.(line);
    }
  };
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', take);
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
    if (own) fs.rmSync(home, { recursive: true, force: true });
  };
  for (const late = Date.now() + seconds * 1000; !(await serves());) {
    if (!over && Date.now() > late) await stop();
    if (over) throw new Error(`${name} does not serve on port ${port}:\n${log.join('\n')}`);
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  return { log, ended, stop };
}
