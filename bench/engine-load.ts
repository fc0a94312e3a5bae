import { Engine, GoodpartsError, ScoreResult } from '../lib/engine';
import { percentile } from '../lib/engine/threshold';

const round = (x: number): number => Math.round(x * 100) / 100;

/** Scores one picture after the other in this process: milliseconds a stage (medians), and pictures a second. */
export async function engineLoad(engine: Engine, pictures: Buffer[], seconds: number) {
  await engine.load('bench');
  const timings: ScoreResult['timing'][] = [];
  const start = performance.now();
  for (let i = 0; performance.now() - start < seconds * 1000; i++) {
    const [result] = await engine.score('bench', [pictures[i % pictures.length]]);
    if (result instanceof GoodpartsError) throw result;
    timings.push(result.timing);
  }
  const perSecond = timings.length / ((performance.now() - start) / 1000);
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
    perSecond: round(perSecond),
    medianMs: Object.fromEntries(stages.map(s => [s, at(s, 50)])),
    totalMs: { p5: at('total', 5), p50: at('total', 50), p95: at('total', 95) }
  };
}
