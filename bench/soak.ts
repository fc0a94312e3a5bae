// Scores back to back in a real Node-RED and prints what memory it and its engine hold.
import { startLoad, type Load } from './node-red-load';
import { usage } from './proc';
import { round } from './rounds';

interface Sample {
  minute: number;
  nodeRed: number;
  engine: number;
}

/** MB an hour, by least squares. */
function slope(samples: Sample[], of: 'nodeRed' | 'engine'): number {
  const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  const [x, y] = [mean(samples.map(s => s.minute)), mean(samples.map(s => s[of]))];
  const over = samples.reduce((sum, s) => sum + (s.minute - x) * (s[of] - y), 0);
  return round((60 * over) / samples.reduce((sum, s) => sum + (s.minute - x) ** 2, 0));
}

/** The slope is taken of the second half: in the first one caches and heaps still find their size. */
export async function soak(load: Omit<Load, 'seconds'>, minutes: number) {
  const server = await startLoad({ ...load, seconds: minutes * 60 });
  const samples: Sample[] = [];
  try {
    const engine = await server.begun();
    const began = Date.now();
    for (let minute = 0; minute <= minutes; minute = (Date.now() - began) / 60_000) {
      const sample = { minute: round(minute), nodeRed: usage(server.pid).rss, engine: usage(engine).rss };
      samples.push(sample);
      console.log(
        `${sample.minute} min: Node-RED ${sample.nodeRed.toFixed(0)} MB, engine ${sample.engine.toFixed(0)} MB`
      );
      await new Promise(resolve => setTimeout(resolve, Math.min(30_000, (minutes * 60_000) / 20)));
    }
    const half = samples.slice(samples.length >> 1);
    const { scored, eventLoopDelayMs } = await server.ended();
    return {
      minutes,
      scored,
      eventLoopDelayMs,
      rssMb: { nodeRed: half.at(-1)!.nodeRed, engine: half.at(-1)!.engine },
      mbAnHour: { nodeRed: slope(half, 'nodeRed'), engine: slope(half, 'engine') }
    };
  } finally {
    await server.stop();
  }
}
