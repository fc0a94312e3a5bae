import type { ScoreOptions } from './contracts';
import type { Detector } from './detector';
import { GoodpartsError } from './errors';
import type { Shared } from './shared';
import { percentile } from './threshold';
import type { Calibration, ImageInput, ImageLimits, Product, ScoreResult } from './types';

/** In the place of a detector's name: for each picture the detector that it resembles most. */
export const NEAREST = '*';

/**
 * A picture that is so far from every detector shows none of their products. Of bottles, cookies, screws and drawn flanges the good ones are
 * at .96 to 1.19, defective ones at .96 to 1.23 (but for one of 86, a bottle of which little was left, at 1.85), other products at 1.81 and more.
 */
const FAR = 1.5;
/** How sharply the confidence falls with the distance: at 1, with no other detector near, it is .96. */
const SHARPNESS = 8;
/** The median of every so many values of a map is near enough to that of all, and sorted at once. */
const STEP = 16;

const STAGES = ['decode', 'preprocess', 'backbone', 'search', 'map', 'total'] as const;

/**
 * Scores each image by the detector that is nearest to it. How near is measured over the whole picture and not by the image score, which
 * rises with a single defect (of 112 pictures it took 16 for another product): the median of the anomaly map, relative to that of the
 * detector's good images. Good and defective parts lie near 1, other products far above.
 *
 * The picture is decoded once, and goes once through each backbone that the detectors have.
 * @returns one entry per image, in order, with its `product`: its result, or the error that this image alone met
 */
export async function nearest(
  detectors: Detector[],
  images: ImageInput[],
  limits: Partial<ImageLimits>,
  { onEntry, ...options }: ScoreOptions
): Promise<(ScoreResult | GoodpartsError)[]> {
  const entries: (ScoreResult | GoodpartsError)[] = [];
  for (const [i, image] of images.entries()) {
    const urgency = { ...options, deadlines: [options.deadlines?.[i] ?? 0] };
    const entry = await nearestTo(detectors, image, limits, urgency);
    entries.push(entry);
    onEntry?.(entry);
  }
  return entries;
}

async function nearestTo(
  detectors: Detector[],
  image: ImageInput,
  limits: Partial<ImageLimits>,
  options: ScoreOptions
): Promise<ScoreResult | GoodpartsError> {
  const start = performance.now();
  const shared: Shared = new Map();
  const distances: number[] = [];
  const timing = { decode: 0, preprocess: 0, backbone: 0, search: 0, map: 0, total: 0 };
  let best: ScoreResult | undefined;
  let failure = new GoodpartsError('calibration-missing', 'No detector knows how far its own good parts are.');
  for (const detector of detectors) {
    const [result] = await detector.score([image], limits, { ...options, map: options.map || 'small', shared });
    if (result instanceof GoodpartsError) {
      failure = result;
      continue;
    }
    for (const stage of STAGES) timing[stage] += result.timing[stage];
    const distance = distanceOf(result, detector.info.calibration);
    // one that was brought in may know nothing of good parts: it can be asked by name only
    if (!Number.isFinite(distance)) continue;
    if (distances.every(other => distance < other)) best = result;
    distances.push(distance);
  }
  if (!best) return failure;
  timing.total = performance.now() - start;
  for (const stage of STAGES) timing[stage] = Math.round(100 * timing[stage]) / 100;
  const { map, ...rest } = best;
  const product = productOf(rest.detector.name, distances);
  return { ...rest, timing, product, ...(options.map !== false && { map }) };
}

/** What lies beside a crop is NaN and does not count. A detector without maps has nothing but its score to go by. */
function distanceOf({ map, score }: ScoreResult, { scores }: Calibration): number {
  if (scores.length === 0) return NaN;
  if (!map) return score / percentile(scores, 99);
  const all = new Float32Array(map.data.buffer, map.data.byteOffset, map.data.length / 4);
  const some = all.filter((value, i) => i % STEP === 0 && !Number.isNaN(value));
  return percentile([...some.sort()], 50) / map.normal;
}

/** "None of them" stands among the detectors, at the distance FAR. */
function productOf(name: string, distances: number[]): Product {
  const distance = Math.min(...distances);
  const weight = (d: number) => Math.max(d, 1e-6) ** -SHARPNESS;
  const all = [...distances, FAR].reduce((sum, d) => sum + weight(d), 0);
  const near = distance < FAR;
  return { name: near ? name : null, confidence: weight(near ? distance : FAR) / all, distance };
}
