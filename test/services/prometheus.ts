/** A real Prometheus that scrapes every second, and what a person asks it. */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../support';

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

interface Script {
  start(options: {
    program: string;
    target: string;
    credentials?: Credentials;
    interval: string;
  }): Promise<{ url: string; stop(): Promise<void> }>;
}

export interface Credentials {
  username: string;
  password: string;
}

/** Asks a running Prometheus. */
export async function ask<T>(url: string, address: string): Promise<T> {
  const response = await fetch(`${url}/api/v1/${address}`);
  const answer = (await response.json()) as { status: string; data: T; error?: string };
  if (answer.status !== 'success') throw new Error(`${decodeURIComponent(address)}: ${answer.error}`);
  return answer.data;
}

/** Starts it with the shipped configuration, pointed at this Node-RED and hurried. */
export async function startPrometheus(program: string, target: string, credentials?: Credentials): Promise<Prometheus> {
  const { start } = (await import(pathToFileURL(path.join(ROOT, 'scripts/prometheus.mjs')).href)) as Script;
  const { url, stop } = await start({ program, target, credentials, interval: '1s' });
  const get = <T>(address: string) => ask<T>(url, address);
  return {
    get,
    stop,
    query: async expression => (await get<{ result: Series[] }>(`query?query=${encodeURIComponent(expression)}`)).result
  };
}
