import { labelComponents } from './components';
import type { Region } from './types';

export interface RegionOptions {
  /** size of the picture in whose pixels boxes and areas are given; default: the map's own */
  imageWidth?: number;
  imageHeight?: number;
  /** at most this many regions, those with the highest scores; default 50 */
  maxRegions?: number;
  /** a map with a longer side is read at every n-th pixel only, n the smallest that brings it under this; default 512 */
  maxSide?: number;
}

export interface RegionReport {
  /** highest score first; of equal scores the larger, then the upper one first */
  regions: Region[];
  /** share (0..1) of the inspected pixels above the threshold; a NaN in the map is a pixel that was not inspected */
  damage: number;
}

/** The map at every `stride`-th pixel, taken from the middle of each stride x stride cell. */
interface Cells {
  stride: number;
  columns: number;
  rows: number;
  values: Float32Array;
}

function sample(map: Float32Array, width: number, height: number, maxSide: number): Cells {
  const stride = Math.max(1, Math.ceil(Math.max(width, height) / maxSide));
  if (stride === 1) return { stride, columns: width, rows: height, values: map };
  const columns = Math.ceil(width / stride);
  const rows = Math.ceil(height / stride);
  const values = new Float32Array(columns * rows);
  const middle = stride >> 1;
  for (let row = 0, i = 0; row < rows; row++) {
    const line = Math.min(row * stride + middle, height - 1) * width;
    for (let column = 0; column < columns; column++, i++)
      values[i] = map[line + Math.min(column * stride + middle, width - 1)];
  }
  return { stride, columns, rows, values };
}

/** Extent, size and highest cell of every component, by label. */
function measure(cells: Cells, labels: Int32Array, count: number) {
  const left = new Int32Array(count + 1).fill(cells.columns);
  const right = new Int32Array(count + 1);
  const top = new Int32Array(count + 1);
  const bottom = new Int32Array(count + 1);
  const size = new Int32Array(count + 1);
  const peak = new Int32Array(count + 1);
  for (let row = 0, i = 0; row < cells.rows; row++) {
    for (let column = 0; column < cells.columns; column++, i++) {
      const label = labels[i];
      if (label === 0) continue;
      if (column < left[label]) left[label] = column;
      if (column > right[label]) right[label] = column;
      if (size[label]++ === 0) {
        top[label] = row;
        peak[label] = i;
      } else if (cells.values[i] > cells.values[peak[label]]) peak[label] = i;
      bottom[label] = row;
    }
  }
  return { left, right, top, bottom, size, peak };
}

/** The highest map value inside one cell. */
function highest(map: Float32Array, width: number, height: number, cells: Cells, cell: number): number {
  const x0 = (cell % cells.columns) * cells.stride;
  const y0 = Math.floor(cell / cells.columns) * cells.stride;
  let value = cells.values[cell];
  for (let y = y0; y < Math.min(y0 + cells.stride, height); y++)
    for (let x = x0; x < Math.min(x0 + cells.stride, width); x++)
      if (map[y * width + x] > value) value = map[y * width + x];
  return value;
}

/**
 * The 8-connected regions of an anomaly map above a threshold (strictly), as boxes in pixels of the picture, and the share of the map above it.
 * Anomaly maps are smooth (a patch covers 8 network pixels, and the map is blurred), so a large one is read at every n-th pixel:
 * the time depends on `maxSide`, not on the picture; boxes are then exact to n pixels, and something narrower than n may be missed.
 * @param map row-major, `width * height`
 * @throws RangeError when the size does not fit the data
 */
export function regions(
  map: Float32Array,
  width: number,
  height: number,
  threshold: number,
  options: RegionOptions = {}
): RegionReport {
  if (map.length !== width * height)
    throw new RangeError(`a map of ${map.length} values is not ${width} x ${height} pixels`);
  const { imageWidth = width, imageHeight = height, maxRegions = 50, maxSide = 512 } = options;
  const cells = sample(map, width, height, maxSide);
  const above = new Uint8Array(cells.values.length);
  let inspected = 0;
  let damaged = 0;
  for (let i = 0; i < above.length; i++) {
    const value = cells.values[i];
    if (Number.isNaN(value)) continue;
    inspected++;
    if (value > threshold) {
      above[i] = 1;
      damaged++;
    }
  }
  if (damaged === 0) return { regions: [], damage: 0 };

  const { labels, count } = labelComponents(above, cells.columns, cells.rows);
  const found = measure(cells, labels, count);
  const score = (label: number) => cells.values[found.peak[label]];
  const byScore = (a: number, b: number) => score(b) - score(a) || found.size[b] - found.size[a] || a - b;
  const strongest = Int32Array.from({ length: count }, (_, i) => i + 1)
    .sort(byScore)
    .subarray(0, maxRegions);

  const scaleX = imageWidth / width;
  const scaleY = imageHeight / height;
  const pixelsPerCell = cells.stride * cells.stride * scaleX * scaleY;
  const boxes = Array.from(strongest, (label): Region => {
    const x = Math.min(Math.round(found.left[label] * cells.stride * scaleX), imageWidth - 1);
    const y = Math.min(Math.round(found.top[label] * cells.stride * scaleY), imageHeight - 1);
    const right = Math.min(Math.round((found.right[label] + 1) * cells.stride * scaleX), imageWidth);
    const bottom = Math.min(Math.round((found.bottom[label] + 1) * cells.stride * scaleY), imageHeight);
    const boxWidth = Math.max(1, right - x);
    const boxHeight = Math.max(1, bottom - y);
    return {
      x,
      y,
      width: boxWidth,
      height: boxHeight,
      score: highest(map, width, height, cells, found.peak[label]),
      area: Math.max(1, Math.min(Math.round(found.size[label] * pixelsPerCell), boxWidth * boxHeight))
    };
  });
  // the peak inside a cell may be above its sample; the sort is stable, so equal scores keep their order
  boxes.sort((a, b) => b.score - a.score);
  return { regions: boxes, damage: damaged / inspected };
}
