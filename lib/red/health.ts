import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Device, DeviceReport } from '../engine';
import { soon, usage, type EngineClient, type EngineState, type Usage } from '../host';
import { models, queues } from './live';
import { drops, errors, parts, seen, verdicts } from './metrics/counts';

/** How Node-RED and its engines are; plain JSON. Counts are since Node-RED started. */
export interface Health {
  /** ISO 8601 */
  time: string;
  nodeRed: Usage & {
    uptimeSeconds: number;
    /** how late timers came in the last seconds, the worst; a busy flow holds all others up by so much */
    eventLoopDelayMs: number;
  };
  /** one a device */
  engines: {
    wanted: Device;
    /** what is really used, and why where it differs; not known before the engine was asked for the first time */
    used?: DeviceReport['used'];
    note?: string;
    state: EngineState;
    /** of its process, while it runs */
    pid?: number;
    restarts: number;
    /** not there while it does not run, or is too busy to say */
    usage?: Usage;
  }[];
  /** one an anomaly-score node */
  queues: { node: string; waiting: number; bound: number }[];
  /** one a detector that has scored */
  detectors: {
    name: string;
    version: string;
    created: string;
    ageSeconds: number;
    /** of the last picture, from decoding to the map */
    milliseconds: number;
    parts: number;
    dropped: number;
    ok: number;
    review: number;
    ng: number;
  }[];
  /** how often each error code was answered */
  errors: Record<string, number>;
}

/** An engine that computes without a pause may answer late; a health report must not wait for it. */
const PATIENCE_MS = 1000;
const WINDOW_MS = 5000;

/** The worst delay of the last two windows, as whoever asks at the beginning of one would see nothing of it. */
class LoopDelay {
  private readonly histogram = monitorEventLoopDelay({ resolution: 10 });
  private last = 0;

  constructor() {
    this.histogram.enable();
    setInterval(() => {
      this.last = this.current();
      this.histogram.reset();
    }, WINDOW_MS).unref();
  }

  get milliseconds(): number {
    return Math.max(this.last, this.current());
  }

  /** The histogram counts the 10 ms between two looks as well, nanoseconds. */
  private current(): number {
    return Math.max(0, this.histogram.max / 1e6 - 10);
  }
}

let delay: LoopDelay | undefined;

/** Started by the first model, so that there is something to tell when somebody asks. */
export function watchLoop(): void {
  delay ??= new LoopDelay();
}

async function engine([wanted, client]: [Device, EngineClient]): Promise<Health['engines'][0]> {
  const report = [...models].find(model => model.wanted === wanted && model.reported)?.reported;
  const used = await soon(client.usage(), PATIENCE_MS);
  return {
    wanted,
    ...(report && { used: report.used, ...(report.note && { note: report.note }) }),
    state: client.state,
    ...(client.pid !== undefined && { pid: client.pid }),
    restarts: client.restarts,
    ...(used && { usage: used })
  };
}

async function detectors(): Promise<Health['detectors']> {
  const [scored, judged, dropped] = await Promise.all([parts.get(), verdicts.get(), drops.get()]);
  return [...seen].map(([name, { version, created, milliseconds }]) => {
    const count = (metric: { values: { labels: object; value: number }[] }, verdict?: string) =>
      metric.values.find(({ labels }) => {
        const is = labels as { recipe?: string; verdict?: string };
        return is.recipe === name && is.verdict === verdict;
      })?.value ?? 0;
    return {
      name,
      version,
      created,
      ageSeconds: Math.round((Date.now() - Date.parse(created)) / 1000),
      milliseconds,
      parts: count(scored),
      dropped: count(dropped),
      ok: count(judged, 'ok'),
      review: count(judged, 'review'),
      ng: count(judged, 'ng')
    };
  });
}

async function errorCounts(): Promise<Health['errors']> {
  const counts: Health['errors'] = {};
  for (const { labels, value } of (await errors.get()).values)
    counts[labels.code!] = (counts[labels.code!] ?? 0) + value;
  return counts;
}

/** How this Node-RED and its engines are. Starts no engine, and waits no longer than a second. */
export async function health(): Promise<Health> {
  // models of one device share its process
  const clients = new Map([...models].map(model => [model.wanted, model.client]));
  return {
    time: new Date().toISOString(),
    nodeRed: {
      ...usage(),
      uptimeSeconds: Math.round(process.uptime()),
      eventLoopDelayMs: Math.round(10 * (delay?.milliseconds ?? 0)) / 10
    },
    engines: await Promise.all([...clients].map(engine)),
    queues: [...queues].map(({ node, waiting, bound }) => ({ node, waiting: waiting(), bound })),
    detectors: await detectors(),
    errors: await errorCounts()
  };
}
