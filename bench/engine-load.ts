import { Engine, GoodpartsError, ScoreResult } from '../lib/engine';
import { percentile } from '../lib/engine/threshold';
import { round } from './rounds';

export interface EngineLoad {
  scored: number;
  perSecond: number;
  /** processor time a picture, milliseconds */
  cpuMs: number;
  /** milliseconds a stage */
  medianMs: Record<string, number>;
  totalMs: { p5: number; p50: number; p95: number };
}

/**
 * Scores back to back in this process, as a program that uses the library would, with `ahead` pictures under way at a time. The map is
 * the one that the nodes take.
 */
export async function engineLoad(
  engine: Engine,
  detector: string,
  pictures: Buffer[],
  seconds: number,
  ahead: number
): Promise<EngineLoad> {
  await engine.load(detector);
  const timings: ScoreResult['timing'][] = [];
  const start = performance.now();
  const cpu = process.cpuUsage();
  let taken = 0;
  const lane = async (): Promise<void> => {
    while (performance.now() - start < seconds * 1000) {
      const [result] = await engine.score(detector, [pictures[taken++ % pictures.length]], { map: 'small' });
      if (result instanceof GoodpartsError) throw result;
      timings.push(result.timing);
    }
  };
  await Promise.all(Array.from({ length: ahead }, lane));
  const took = performance.now() - start;
  const used = process.cpuUsage(cpu);
  const stages = Object.keys(timings[0]) as (keyof ScoreResult['timing'])[];
  const at = (stage: keyof ScoreResult['timing'], p: number): number =>
    round(
      percentile(
        timings.map(t => t[stage]).sort((a, b) => a - b),
        p
      )
    );
  return {
    scored: timings.length,
    perSecond: round((timings.length * 1000) / took),
    cpuMs: round((used.user + used.system) / 1000 / timings.length),
    medianMs: Object.fromEntries(stages.map(s => [s, at(s, 50)])),
    totalMs: { p5: at('total', 5), p50: at('total', 50), p95: at('total', 95) }
  };
}
