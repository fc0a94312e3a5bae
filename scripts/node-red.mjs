// A Node-RED process with a user directory of its own, this package in its palette and nothing from outside.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Makes the user directory, with this package linked into it as `npm install` of a folder would. */
export function prepare(userDir) {
  const { name } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  const link = path.join(userDir, 'node_modules', name);
  fs.mkdirSync(path.dirname(link), { recursive: true });
  fs.rmSync(link, { recursive: true, force: true });
  fs.symlinkSync(root, link, 'junction');
}

const hash = file => createHash('sha256').update(fs.readFileSync(file)).digest('hex');

/**
 * Puts a shipped flow into the user directory, unless the flow there was changed since: then that one is kept, or, with
 * `fresh`, set aside as flows.edited.json.
 */
export function placeFlows(shipped, userDir, fresh = false) {
  const flows = path.join(userDir, 'flows.json');
  const mark = path.join(userDir, 'flows.sha256');
  const untouched = () => fs.existsSync(mark) && fs.readFileSync(mark, 'utf8').trim() === hash(flows);
  const edited = fs.existsSync(flows) && !untouched();
  if (edited && !fresh) return { flows, kept: true };
  if (edited) fs.renameSync(flows, path.join(userDir, 'flows.edited.json'));
  fs.copyFileSync(shipped, flows);
  fs.writeFileSync(mark, hash(flows) + '\n');
  return { flows, kept: false };
}

const isFree = port =>
  new Promise(resolve => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });

/** `wanted`, or the first free port after it. */
export async function freePort(wanted) {
  for (let port = wanted; port < wanted + 100; port++) if (await isFree(port)) return port;
  throw new Error(`No free port from ${wanted} to ${wanted + 99}.`);
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

async function answers(url) {
  const response = await fetch(url).catch(() => undefined);
  await response?.body?.cancel();
  return response !== undefined;
}

/**
 * Starts Node-RED and waits until it runs its flows.
 * @param {object} options
 * @param {string} options.red path of Node-RED's red.js
 * @param {string} options.userDir from `prepare`
 * @param {string} options.flows flow file
 * @param {number} options.port on 127.0.0.1
 * @param {string} [options.settings] Node-RED's settings file; default: scripts/settings.cjs
 * @param {string} [options.node] Node.js binary; default: this one
 * @param {Record<string, string>} [options.env] additional environment
 * @param {(line: string) => void} [options.onLine] gets every line that Node-RED logs
 * @param {number} [options.timeout] milliseconds until it must run; default 180000
 * @returns {Promise<{url: string, child: import('node:child_process').ChildProcess, ended: Promise<number>, stop: () => Promise<number>}>}
 */
export async function startNodeRed({
  red,
  userDir,
  flows,
  port,
  settings = path.join(root, 'scripts', 'settings.cjs'),
  node = process.execPath,
  env,
  onLine,
  timeout = 180_000
}) {
  const args = [red, '--settings', settings, '--userDir', userDir, '--port', String(port), flows];
  const child = spawn(node, args, {
    env: { NODE_ENV: 'production', ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  });
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', code => resolve(code ?? 1));
  });
  const orphaned = () => child.kill();
  process.once('exit', orphaned);
  void ended.catch(() => {}).finally(() => process.off('exit', orphaned));
  const log = [];
  let started = false;
  const take = line => {
    log.push(line);
    if (log.length > 50) log.shift();
    if (/Started flows/.test(line)) started = true;
    onLine?.(line);
  };
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream.setEncoding('utf8').on('data', text => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      lines.forEach(take);
    });
  }
  const stop = async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 20000);
    const code = await ended;
    clearTimeout(late);
    return code;
  };
  const url = `http://127.0.0.1:${port}`;
  const until = Date.now() + timeout;
  let over = false;
  void ended.then(() => (over = true));
  while (!(started && (await answers(url)))) {
    if (over) throw new Error(`Node-RED ended while it was starting:\n${log.join('\n')}`);
    if (Date.now() > until) {
      await stop();
      throw new Error(`Node-RED did not start within ${timeout / 1000} s:\n${log.join('\n')}`);
    }
    await sleep(200);
  }
  return { url, child, ended, stop };
}
