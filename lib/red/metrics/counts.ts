/**
 * What happened in this Node-RED process since it started, over all nodes and all deploys, in Prometheus' terms. It is always counted, as
 * that costs microseconds a part, and shown where a model allows it (endpoints.ts).
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Calibration, DetectorInfo, ScoreResult } from '../../engine';
import { GoodpartsError } from '../../engine/errors';
import { percentile } from '../../engine/threshold';
import { bounded } from './labels';

export const registry = new Registry();
const registers = [registry];

/** Seconds: from a small picture on a GPU to a large one on a busy CPU. */
const STAGE_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Finest from 0, where good parts lie, to 1, the limit. Not -1: prom-client 15 counts what is above all bounds there, too. */
const SCORE_BUCKETS = [-2, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20];

const counter = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
  new Counter({ name, help, labelNames, registers });

export const parts = counter('anomaly_parts_scored_total', 'Pictures that anomaly-score scored', 'recipe');
export const verdicts = counter('anomaly_verdicts_total', 'Verdicts of threshold nodes', 'recipe', 'verdict');
export const drops = counter('anomaly_parts_dropped_total', 'Pictures dropped for want of room in a queue', 'recipe');
export const errors = counter('anomaly_errors_total', 'Messages that a node answered with an error', 'node', 'code');
const fits = counter('anomaly_fits_total', 'Detector versions that anomaly-fit made', 'recipe');
const scores = new Histogram({
  name: 'anomaly_score_relative',
  help: "Score on the detector's own scale: 0 the median of its good parts, 1 their 99th percentile; may be negative: use buckets, not the sum",
  labelNames: ['recipe'],
  buckets: SCORE_BUCKETS,
  registers
});
const stages = new Histogram({
  name: 'anomaly_stage_duration_seconds',
  help: 'Time of a picture in each stage; total is decode to map, queue is the waiting before',
  labelNames: ['stage'],
  buckets: STAGE_BUCKETS,
  registers
});
const created = new Gauge({
  name: 'anomaly_detector_created_timestamp_seconds',
  help: 'When the version was fitted that scored last; its age is time() minus this',
  labelNames: ['recipe', 'version'],
  registers
});

const recipeLabel = bounded();

/** What scored last, by recipe. */
export interface Seen {
  version: string;
  /** ISO 8601 */
  created: string;
  /** of the last picture, from decoding to the map */
  milliseconds: number;
}
export const seen = new Map<string, Seen>();

/**
 * Where a score lies between the good parts of its detector: 0 is their median, 1 their 99th percentile, the limit that threshold has by
 * default. So a bucket means the same for every detector, whatever its scores are like, and a drift of good parts is seen long before
 * one of them is NG.
 */
export function relativeScore(score: number, { scores: good }: Calibration): number | undefined {
  if (good.length === 0) return undefined;
  const [median, limit] = [percentile(good, 50), percentile(good, 99)];
  // one good score only: there is no spread to measure with
  return (score - median) / (limit - median || median || 1);
}

/** A picture was scored. */
export function countScore({ score, detector, timing }: ScoreResult, queued: number, info: DetectorInfo): void {
  const recipe = recipeLabel(detector.name);
  const { version } = detector;
  parts.inc({ recipe });
  // a series that begins with its first drop shows no rise by it
  drops.inc({ recipe }, 0);
  for (const [stage, ms] of Object.entries({ ...timing, queue: queued })) stages.observe({ stage }, ms / 1000);
  const relative = relativeScore(score, info.calibration);
  if (relative !== undefined) scores.observe({ recipe }, relative);
  const before = seen.get(recipe);
  if (before && before.version !== version) created.remove({ recipe, version: before.version });
  created.set({ recipe, version }, Date.parse(info.created) / 1000);
  seen.set(recipe, { version, created: info.created, milliseconds: timing.total });
}

export function countVerdict(name: string | undefined, verdict: string): void {
  const recipe = recipeLabel(name ?? 'unknown');
  for (const each of ['ok', 'review', 'ng']) verdicts.inc({ recipe, verdict: each }, each === verdict ? 1 : 0);
}

export function countDrop(name: string, pictures: number): void {
  drops.inc({ recipe: recipeLabel(name) }, pictures);
}

export function countFit(name: string): void {
  fits.inc({ recipe: recipeLabel(name) });
}

/** @param node its type */
export function countError(node: string, error: Error): void {
  const code = error instanceof GoodpartsError ? error.code : 'other';
  // taken back on purpose: nothing went wrong
  if (code !== 'score-cancelled') errors.inc({ node, code });
}
