/**
 * Every metric here (AUROC, average precision, F1-max, AU-PRO) needs the same few numbers: at each distinct score of a positive (defective)
 * item, how many negatives (good ones) lie above it and how many at it. So only the positives are sorted, which are few where it matters
 * (pixels), and each negative is counted once, through a table that leads close to its place: 42 million pixels take about a second.
 */
export interface Ranking {
  /** the distinct scores of positives, ascending; the arrays below go with it */
  scores: Float64Array;
  /** positives with exactly this score */
  positives: Float64Array;
  /** negatives with a higher score */
  above: Float64Array;
  /** negatives with exactly this score */
  equal: Float64Array;
  totalPositives: number;
  totalNegatives: number;
  /** the index in `scores` of the lowest one not below a score */
  indexOf: (score: number) => number;
}

const BUCKETS = 1 << 18;

/** Lower bound by table and bisection: equal-width buckets over the range, each knowing where in `sorted` it begins. */
function searcher(sorted: Float64Array): (value: number) => number {
  const lowest = sorted[0];
  const width = sorted[sorted.length - 1] - lowest;
  const scale = width > 0 ? BUCKETS / width : 0;
  // increasing in its argument, for everything but NaN; with a scale of 0 one bucket holds all
  const bucketOf = (value: number) => Math.max(0, Math.min(BUCKETS - 1, (value - lowest) * scale)) | 0;
  const begins = new Uint32Array(BUCKETS + 1);
  for (let i = 0; i < sorted.length; i++) begins[bucketOf(sorted[i]) + 1]++;
  for (let bucket = 0; bucket < BUCKETS; bucket++) begins[bucket + 1] += begins[bucket];
  return value => {
    const bucket = bucketOf(value);
    let low = begins[bucket];
    let high = begins[bucket + 1];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sorted[middle] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

/** The distinct values of an ascending array, and how often each stands there. */
function distinct(sorted: Float64Array): { scores: Float64Array; positives: Float64Array } {
  const scores = new Float64Array(sorted.length);
  const positives = new Float64Array(sorted.length);
  let count = 0;
  for (let i = 0; i < sorted.length; i++) {
    if (count === 0 || sorted[i] !== scores[count - 1]) scores[count++] = sorted[i];
    positives[count - 1]++;
  }
  return { scores: scores.slice(0, count), positives: positives.slice(0, count) };
}

/**
 * Ranks positives among negatives; both come in as many pieces as is convenient and are left as they are.
 * @returns null when either side is empty: no metric here is defined then
 * @throws RangeError on a score that is NaN
 */
export function rank(positivePieces: ArrayLike<number>[], negativePieces: ArrayLike<number>[]): Ranking | null {
  const size = (pieces: ArrayLike<number>[]) => pieces.reduce((sum, piece) => sum + piece.length, 0);
  const totalPositives = size(positivePieces);
  const totalNegatives = size(negativePieces);
  if (totalPositives === 0 || totalNegatives === 0) return null;

  const sorted = new Float64Array(totalPositives);
  let filled = 0;
  for (const piece of positivePieces) {
    sorted.set(piece, filled);
    filled += piece.length;
  }
  sorted.sort();
  if (Number.isNaN(sorted[totalPositives - 1])) throw new RangeError('a score is NaN'); // NaN sorts last
  const { scores, positives } = distinct(sorted);

  const indexOf = searcher(scores);
  const equal = new Float64Array(scores.length);
  const above = new Float64Array(scores.length);
  for (const piece of negativePieces) {
    for (let i = 0; i < piece.length; i++) {
      const score = piece[i];
      const index = indexOf(score);
      if (scores[index] === score) equal[index]++;
      else if (index > 0) above[index - 1]++; // above this one and everything below it, not above the next
      if (Number.isNaN(score)) throw new RangeError('a score is NaN');
    }
  }
  for (let i = scores.length - 2; i >= 0; i--) above[i] += above[i + 1] + equal[i + 1];
  return { scores, positives, above, equal, totalPositives, totalNegatives, indexOf };
}

/** Area under the ROC curve: the chance that a positive scores above a negative, a tie counting half. */
export function auroc({ positives, above, equal, totalPositives, totalNegatives }: Ranking): number {
  let area = 0;
  for (let i = 0; i < positives.length; i++) area += positives[i] * (totalNegatives - above[i] - equal[i] / 2);
  return area / (totalPositives * totalNegatives);
}

/** Average precision: precision at each threshold, weighted by the recall gained there; no interpolation (as scikit-learn). */
export function averagePrecision({ positives, above, equal, totalPositives }: Ranking): number {
  let found = 0;
  let sum = 0;
  for (let i = positives.length - 1; i >= 0; i--) {
    found += positives[i];
    sum += (positives[i] * found) / (found + above[i] + equal[i]);
  }
  return sum / totalPositives;
}

export interface F1Max {
  f1: number;
  /** calling everything at or above it defective gives this F1; of several such thresholds the lowest */
  threshold: number;
}

/** The best F1 that any threshold reaches. It lies at the score of a positive: elsewhere a threshold only adds false alarms. */
export function f1Max({ scores, positives, above, equal, totalPositives }: Ranking): F1Max {
  let found = 0;
  let best: F1Max = { f1: 0, threshold: scores[scores.length - 1] };
  for (let i = positives.length - 1; i >= 0; i--) {
    found += positives[i];
    const f1 = (2 * found) / (totalPositives + found + above[i] + equal[i]);
    if (f1 >= best.f1) best = { f1, threshold: scores[i] };
  }
  return best;
}
