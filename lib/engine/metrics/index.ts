import { auroc, averagePrecision, f1Max, rank, type F1Max } from './ranking';

export { PixelMetrics, type PixelResult } from './pixels';
export type { F1Max } from './ranking';

export interface ImageResult {
  auroc: number | null;
  ap: number | null;
  f1Max: F1Max | null;
}

/**
 * How well scores separate defective pictures from good ones.
 * @param labels one a score; anything but 0 is defective
 * @returns all null when there is one class only
 * @throws RangeError when the lengths differ or a score is NaN
 */
export function imageMetrics(scores: ArrayLike<number>, labels: ArrayLike<number>): ImageResult {
  if (scores.length !== labels.length)
    throw new RangeError(`${scores.length} scores do not go with ${labels.length} labels`);
  const pick = (defective: boolean) => Array.from(scores).filter((_, i) => (labels[i] !== 0) === defective);
  const ranking = rank([pick(true)], [pick(false)]);
  if (ranking === null) return { auroc: null, ap: null, f1Max: null };
  return { auroc: auroc(ranking), ap: averagePrecision(ranking), f1Max: f1Max(ranking) };
}
