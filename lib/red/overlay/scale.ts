import { GoodpartsError } from '../../engine/errors';
import type { AnomalyMap } from '../../engine';

/** Where the pixel threshold sits on a detector's scale, as a share of the colormap: room above it tells bad from worse. */
const THRESHOLD_AT = 0.6;
/** Below the first share of the scale a picture stays as it is, above the second it has the full colour: a good part is
 * left clear, and what is conspicuous but below the threshold is tinted. */
const CLEAR_BELOW = 0.15;
const FULL_ABOVE = THRESHOLD_AT;

export interface ScaleOptions {
  scale: 'detector' | 'fixed';
  /** ends of a fixed scale; a missing one is taken from the detector's */
  min?: number;
  max?: number;
}

/** Map values to colours: `min` is the colormap's start, `max` its end. */
export interface ColourScale {
  min: number;
  max: number;
  /** the pixel threshold, where the map has one */
  threshold?: number;
}

/** Opacity (0..1) of the colours at a share (0..1) of the scale. */
export function opacityAt(share: number): number {
  const t = Math.min(1, Math.max(0, (share - CLEAR_BELOW) / (FULL_ABOVE - CLEAR_BELOW)));
  return t * t * (3 - 2 * t);
}

/** The detector's own scale: from what is normal, through the pixel threshold at 60 % of the colormap. */
function detectorEnds({ normal, threshold }: AnomalyMap): { min: number; max: number } | undefined {
  if (!Number.isFinite(normal) || !Number.isFinite(threshold)) return undefined;
  // a threshold at or below the normal level (one set by hand) still gets a scale that rises
  const span = Math.max(threshold - normal, Math.abs(threshold) * 0.05, 1e-6);
  return { min: threshold - span, max: threshold - span + span / THRESHOLD_AT };
}

/** @throws GoodpartsError `calibration-missing` when an end is neither given nor known from the map */
export function colourScale(map: AnomalyMap, options: ScaleOptions): ColourScale {
  const ends = detectorEnds(map);
  const threshold = Number.isFinite(map.threshold) ? map.threshold : undefined;
  if (options.scale === 'detector' && ends) return { ...ends, threshold };
  const { min = ends?.min, max = ends?.max } = options.scale === 'fixed' ? options : {};
  if (min === undefined || max === undefined)
    throw new GoodpartsError(
      'calibration-missing',
      'The anomaly map carries no normal level and threshold; choose a fixed colour scale and give its min and max.'
    );
  if (min < max) return { min, max, threshold };
  throw new GoodpartsError('calibration-missing', `The colour scale's max (${max}) must be above its min (${min}).`);
}
