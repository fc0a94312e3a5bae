/** A real Prometheus that scrapes every second, and what a person asks it. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { starter } from '../flows/node-red';
import { put, scratch } from '../support';

export interface Series {
  metric: Record<string, string>;
  value: [number, string];
}

export interface Prometheus {
  query(expression: string): Promise<Series[]>;
  /** the API's answer to a path below /api/v1 */
  get<T>(path: string): Promise<T>;
  stop(): Promise<void>;
}

/** Starts it with the shipped configuration, pointed at this Node-RED and hurried. */
export async function startPrometheus(program: string, folder: string, target: string): Promise<Prometheus> {
  const home = scratch();
  const shipped = fs.readFileSync(path.join(folder, 'prometheus.yml'), 'utf8');
  const config = shipped.replace(/_interval: 15s/g, '_interval: 1s').replace('localhost:1880', new URL(target).host);
  put(path.join(home, 'prometheus.yml'), config);
  fs.copyFileSync(path.join(folder, 'alerts.yml'), path.join(home, 'alerts.yml'));
  const port = await (await starter()).freePort(19900 + Math.floor(Math.random() * 90));
  const flags = ['config.file=prometheus.yml', 'storage.tsdb.path=data', `web.listen-address=127.0.0.1:${port}`];
  const child = spawn(program, [...flags.map(flag => `--${flag}`), '--log.level=error'], {
    cwd: home,
    stdio: 'ignore'
  });
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()));
  const get = async <T>(address: string): Promise<T> => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/${address}`);
    const answer = (await response.json()) as { status: string; data: T; error?: string };
    if (answer.status !== 'success') throw new Error(`${decodeURIComponent(address)}: ${answer.error}`);
    return answer.data;
  };
  for (let tries = 0; !(await get('status/runtimeinfo').catch(() => undefined)); tries++) {
    if (tries > 150 || child.exitCode !== null) throw new Error('Prometheus does not start.');
    await new Promise(resolve => setTimeout(resolve, 200));
  }
  return {
    get,
    query: async expression =>
      (await get<{ result: Series[] }>(`query?query=${encodeURIComponent(expression)}`)).result,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    }
  };
}
