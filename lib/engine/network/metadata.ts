import type { Calibration, Size } from '../types';

/** What metadata.json of an anomalib 1.x export says, as far as it matters here. */
export interface Metadata {
  /** thresholds, in the network's own numbers */
  own?: Calibration['own'];
  /** of RGB / 255; missing where the network normalises by itself */
  values?: { mean: number[]; std: number[] };
  resized?: Size;
  /** cut out of the middle of the resized picture */
  crop?: Size;
}

type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null;
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);

/** Reads the text of a metadata.json; what is not there, or not anomalib's, says nothing. */
export function readMetadata(text: string | undefined): Metadata {
  let json: unknown;
  try {
    json = JSON.parse(text ?? '');
  } catch {
    return {};
  }
  if (!isObject(json)) return {};
  const { image_threshold: score, pixel_threshold: map } = json;
  if (!isNumber(score) && !isNumber(map)) return {};
  const own = { ...(isNumber(score) && { score }), ...(isNumber(map) && { map }) };
  return { own, ...stepsOf(json.transform) };
}

/** The steps of an albumentations pipeline, which 1.0 and before wrote down: what they did to a picture before the network. */
function stepsOf(transform: unknown): Metadata {
  const inner = isObject(transform) && isObject(transform.transform) ? transform.transform : transform;
  const steps = isObject(inner) && Array.isArray(inner.transforms) ? inner.transforms.filter(isObject) : [];
  const step = (name: string): Json | undefined => steps.find(s => String(s.__class_fullname__).endsWith(name));
  const sizeOf = (found: Json | undefined): Size | undefined =>
    isNumber(found?.width) && isNumber(found.height) ? { width: found.width, height: found.height } : undefined;
  const { mean, std } = step('Normalize') ?? {};
  const numbers = (list: unknown): list is number[] => Array.isArray(list) && list.length === 3 && list.every(isNumber);
  return {
    ...(numbers(mean) && numbers(std) && { values: { mean, std } }),
    resized: sizeOf(step('Resize')),
    crop: sizeOf(step('CenterCrop'))
  };
}
