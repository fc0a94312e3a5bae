// Polygons of a region: what they may be like, and what pixels lie in them.
import type { InspectedRegion, Polygon } from './types';

const MOST_POLYGONS = 100;
const MOST_POINTS = 1000;

/** `count` pixels or cells along a side, and what they span, in shares of the picture's side. */
export interface Axis {
  count: number;
  from: number;
  to: number;
}

/** Whether anything of a picture is left out. Detectors of earlier versions have no region. */
export const isRestricted = (region: InspectedRegion | undefined): region is InspectedRegion =>
  region !== undefined && (region.include.length > 0 || region.exclude.length > 0 || region.mask !== undefined);

const isPoint = (point: unknown): boolean =>
  Array.isArray(point) && point.length === 2 && point.every(n => typeof n === 'number' && n >= 0 && n <= 1);

const isPolygon = (polygon: unknown): boolean =>
  Array.isArray(polygon) && polygon.length >= 3 && polygon.length <= MOST_POINTS && polygon.every(isPoint);

/** What a region must be like, where it is not. */
export function regionProblem(region: InspectedRegion | undefined): string | undefined {
  const { include, exclude, mask } = region ?? ({} as Partial<InspectedRegion>);
  if (!Array.isArray(include) || !Array.isArray(exclude)) return 'two lists of polygons, include and exclude';
  const polygons = [...include, ...exclude];
  if (polygons.length > MOST_POLYGONS) return `at most ${MOST_POLYGONS} polygons`;
  if (!polygons.every(isPolygon))
    return `polygons of 3 to ${MOST_POINTS} points [x, y], in shares of the picture's width and height from 0 to 1`;
  if (mask !== undefined && typeof mask !== 'string' && !(mask instanceof Uint8Array))
    return 'polygons and, if wanted, a mask picture as bytes or base64';
  return undefined;
}

/** Position of the first pixel whose centre is not before a share of the side. */
const pixelAt = (share: number, { count, from, to }: Axis): number =>
  Math.min(count, Math.max(0, Math.ceil(((share - from) / (to - from)) * count - 0.5)));

/** Share of the side at which a pixel has its centre. */
export const centre = (i: number, { count, from, to }: Axis): number => from + ((i + 0.5) * (to - from)) / count;

/**
 * Sets the pixels whose centres lie inside a polygon, by the non-zero rule: where its outline crosses itself there is no hole. A pixel
 * on the outline belongs to one side of it only.
 */
export function fillPolygon(into: Uint8Array, polygon: Polygon, across: Axis, down: Axis, value: 0 | 1): void {
  for (let row = 0; row < down.count; row++) {
    const y = centre(row, down);
    const crossings: { x: number; turn: 1 | -1 }[] = [];
    polygon.forEach(([x1, y1], i) => {
      const [x2, y2] = polygon[(i + 1) % polygon.length];
      if (y1 <= y !== y2 <= y) crossings.push({ x: x1 + ((y - y1) * (x2 - x1)) / (y2 - y1), turn: y2 > y1 ? 1 : -1 });
    });
    crossings.sort((a, b) => a.x - b.x);
    let winding = 0;
    crossings.slice(0, -1).forEach(({ x, turn }, i) => {
      winding += turn;
      const line = row * across.count;
      if (winding) into.fill(value, line + pixelAt(x, across), line + pixelAt(crossings[i + 1].x, across));
    });
  }
}
