import type { AnomalyMap } from '../../engine';
import { mapValues } from '../map';

/** A small copy of an anomaly map, row-major. */
export interface Grid {
  values: Float32Array;
  width: number;
  height: number;
}

/** The first or the second sample of each of `cells` cells along a side of `size` values. */
const samples = (cells: number, size: number, quarter: 0.25 | 0.75) =>
  Uint32Array.from({ length: cells }, (_, i) => Math.floor(((i + quarter) * size) / cells));

/**
 * Shrinks a map so that its longer side is at most `side`, each cell the mean of four samples spread over it: maps are
 * smooth, and sampling costs the same for any size of the original (a full mean over 20 megapixels would hold up the
 * event loop for tens of milliseconds). NaN, a pixel that was not inspected, stays NaN.
 */
export function shrink(map: AnomalyMap, side: number): Grid {
  const from = mapValues(map);
  const factor = Math.max(1, map.width / side, map.height / side);
  const width = Math.max(1, Math.round(map.width / factor));
  const height = Math.max(1, Math.round(map.height / factor));
  const values = new Float32Array(width * height);
  const [left, right] = [samples(width, map.width, 0.25), samples(width, map.width, 0.75)];
  const [top, bottom] = [samples(height, map.height, 0.25), samples(height, map.height, 0.75)];
  for (let y = 0, to = 0; y < height; y++) {
    const [above, below] = [top[y] * map.width, bottom[y] * map.width];
    for (let x = 0; x < width; x++, to++)
      values[to] =
        (from[above + left[x]] + from[above + right[x]] + from[below + left[x]] + from[below + right[x]]) / 4;
  }
  return { values, width, height };
}
