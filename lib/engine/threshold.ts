import { GoodpartsError } from './errors';

/** How a limit is drawn from the scores of good parts. */
export type LimitRule =
  { method: 'percentile'; value: number } | { method: 'fixed'; value: number } | { method: 'sigma'; value: number };

/** Linear-interpolated percentile (numpy's default) of ascending `sorted`; `p` in 0..100. */
export function percentile(sorted: readonly number[], p: number): number {
  const rank = ((sorted.length - 1) * p) / 100;
  const low = Math.floor(rank);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (rank - low);
}

/**
 * The limit above which a value is not normal: a percentile of the good values, mean + value * sigma of them, or the value itself.
 * @param sorted values of good parts, ascending
 * @throws GoodpartsError `calibration-missing` when a rule needs good values and there are none
 */
export function limitOf(rule: LimitRule, sorted: readonly number[]): number {
  if (rule.method === 'fixed') return rule.value;
  if (sorted.length === 0)
    throw new GoodpartsError('calibration-missing', 'The detector has no scores of good parts; set a fixed threshold.');
  if (rule.method === 'percentile') return percentile(sorted, rule.value);
  const { mean, sigma } = spreadOf(sorted);
  return mean + rule.value * sigma;
}

/** Mean and sample standard deviation (0 of a single value). */
export function spreadOf(values: readonly number[]): { mean: number; sigma: number } {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / Math.max(1, values.length - 1);
  return { mean, sigma: Math.sqrt(variance) };
}
