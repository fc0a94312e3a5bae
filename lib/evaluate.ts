import type { AnomalyMap, Engine, FitProgress, FitSettings, ScoreResult } from './engine';
import { GoodpartsError } from './engine/errors';
import { imageMetrics, PixelMetrics } from './engine/metrics';
import { percentile } from './engine/threshold';
import { readMask, scaleMask, type MvtecClass, type MvtecImage } from './mvtec';
import { about, fitFiles, readPicture } from './pictures';

/** What `goodparts evaluate --json` prints; null where a metric is not defined (one class only, no masks). */
export interface Evaluation {
  image_auroc: number | null;
  image_ap: number | null;
  image_f1max: number | null;
  pixel_auroc: number | null;
  aupro: number | null;
  train_images: number;
  test_images: number;
  bank_size: number;
  fit_seconds: number;
  /** one picture at a time, from the file's bytes to score, regions and map; the detector is loaded before */
  score_ms_p50: number;
  score_ms_p95: number;
  /** the whole process, the metrics' own memory included */
  peak_rss_mb: number;
  backbone: string;
  second_backbone?: string;
  preset: string;
  seed: number;
  method: string;
  /** that were gone through, where a network was trained */
  epochs: number | null;
}

export interface DefectEvaluation {
  defect: string;
  images: number;
  /** this defect against all good pictures */
  image_auroc: number | null;
}

export interface EvaluateProgress {
  stage: FitProgress['stage'] | 'score';
  done: number;
  total: number;
}

export interface EvaluateOptions {
  onProgress?: (progress: EvaluateProgress) => void;
  /** something the reader of the figures has to know, in a sentence */
  onNote?: (note: string) => void;
  signal?: AbortSignal;
}

/** The detector's name in the store that the evaluation is given. */
const DETECTOR = 'evaluation';

function floats({ data }: AnomalyMap): Float32Array {
  const aligned = data.byteOffset % 4 === 0 ? data : new Uint8Array(data);
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
}

async function addPixels(pixels: PixelMetrics, image: MvtecImage, map: AnomalyMap): Promise<string | null> {
  const { width, height } = map;
  if (image.label === 0) {
    pixels.add(floats(map), null, width, height);
    return null;
  }
  const mask = await readMask(image.maskPath!);
  pixels.add(floats(map), scaleMask(mask, width, height).data, width, height);
  if (mask.width === width && mask.height === height) return null;
  return `${image.maskPath} is ${mask.width} x ${mask.height} pixels, its picture ${width} x ${height}: the mask was scaled.`;
}

async function scoreOne(engine: Engine, image: MvtecImage): Promise<{ result: ScoreResult; milliseconds: number }> {
  const bytes = await readPicture(image.path);
  const started = performance.now();
  const [result] = await engine.score(DETECTOR, [bytes]);
  if (result instanceof GoodpartsError) throw about(image.path, result);
  return { result, milliseconds: performance.now() - started };
}

const rounded = (value: number) => Math.round(value * 1000) / 1000;

/**
 * Fits on a class's good pictures and measures on its test pictures, as the literature does: one detector, no threshold.
 * @param engine its store is written to: give it a temporary one
 */
export async function evaluate(
  engine: Engine,
  { train, test }: MvtecClass,
  settings: FitSettings,
  { onProgress, onNote, signal }: EvaluateOptions = {}
): Promise<{ evaluation: Evaluation; defects: DefectEvaluation[] }> {
  const started = performance.now();
  const fit = await fitFiles(
    engine,
    DETECTOR,
    train.map(image => image.path),
    settings,
    { onProgress, signal }
  );
  const fitSeconds = (performance.now() - started) / 1000;
  const { settings: used } = await engine.load(DETECTOR);

  const pixels = new PixelMetrics();
  const scores: number[] = [];
  const times: number[] = [];
  for (const [done, image] of test.entries()) {
    if (signal?.aborted) throw new GoodpartsError('fit-aborted', 'The evaluation was stopped.');
    onProgress?.({ stage: 'score', done, total: test.length });
    const { result, milliseconds } = await scoreOne(engine, image);
    scores.push(result.score);
    times.push(milliseconds);
    if (image.label === 1 && image.maskPath === null) continue;
    const note = await addPixels(pixels, image, result.map!);
    if (note) onNote?.(note);
  }
  onProgress?.({ stage: 'score', done: test.length, total: test.length });

  const defective = test.filter(image => image.label === 1);
  const unmasked = defective.filter(image => image.maskPath === null).length;
  if (unmasked > 0)
    onNote?.(
      `${unmasked} of ${defective.length} defective test images have no mask: the pixel metrics leave them out.`
    );

  if (used.resizeShorter > 0 && defective.length > unmasked)
    onNote?.('The crop leaves out the edges of the pictures: the pixel metrics leave them out, too.');

  if (settings.region)
    onNote?.(
      'What lies outside of the mask was not inspected: the pixel metrics leave it out, and a defective picture counts as one wherever its defect is.'
    );

  const rank = (which: (image: MvtecImage) => boolean) => {
    const chosen = test.flatMap((image, i) => (which(image) ? [i] : []));
    return imageMetrics(
      chosen.map(i => scores[i]),
      chosen.map(i => test[i].label)
    );
  };
  const image = rank(() => true);
  const pixel = pixels.result();
  times.sort((a, b) => a - b);
  const evaluation: Evaluation = {
    image_auroc: image.auroc,
    image_ap: image.ap,
    image_f1max: image.f1Max?.f1 ?? null,
    pixel_auroc: pixel.auroc,
    aupro: pixel.aupro,
    train_images: fit.images,
    test_images: test.length,
    bank_size: fit.bankSize,
    fit_seconds: rounded(fitSeconds),
    score_ms_p50: rounded(percentile(times, 50)),
    score_ms_p95: rounded(percentile(times, 95)),
    peak_rss_mb: rounded(process.resourceUsage().maxRSS / 1024),
    backbone: used.backbone,
    ...(used.secondBackbone && { second_backbone: used.secondBackbone }),
    preset: used.preset,
    seed: used.seed,
    method: used.method,
    epochs: fit.training?.epoch ?? null
  };
  const kinds = [...new Set(defective.map(i => i.defect))];
  const defects = kinds.map(defect => ({
    defect,
    images: defective.filter(i => i.defect === defect).length,
    image_auroc: rank(i => i.label === 0 || i.defect === defect).auroc
  }));
  return { evaluation, defects };
}
