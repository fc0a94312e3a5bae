import { percentile } from '../lib/engine/threshold';
import type { Figure } from './result';

/** Three digits are more than a timing holds. */
export const round = (x: number): number => (Math.abs(x) >= 100 ? Math.round(x * 10) / 10 : Number(x.toPrecision(3)));

/** Median and spread of one quantity over everything that was measured of it. */
export function spread(values: number[]): Figure {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (p: number): number => round(percentile(sorted, p));
  return { median: at(50), p5: at(5), p95: at(95), n: sorted.length };
}

/** Calls once for each item after a warm-up on the first, and gives the milliseconds of each. */
export async function timed<T>(items: T[], call: (item: T) => Promise<unknown>, warmUp = 3): Promise<number[]> {
  for (let i = 0; i < warmUp; i++) await call(items[0]);
  const times: number[] = [];
  for (const item of items) {
    const start = performance.now();
    await call(item);
    times.push(performance.now() - start);
  }
  return times;
}
