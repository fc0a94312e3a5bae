import type { Grid } from './grid';
import type { Box, Size } from './size';

/** Stroke width that suits a picture of this size. */
const strokeOf = ({ width, height }: Size) => Math.max(1, Math.min(width, height) / 400);

/** Two strokes, so that a line shows on dark and on bright parts alike. */
const haloed = (shape: string, colour: string, width: number) =>
  `<g fill="none" stroke-linejoin="round"><g stroke="#000" stroke-opacity=".6" stroke-width="${(width * 2.2).toFixed(2)}">${shape}</g>` +
  `<g stroke="${colour}" stroke-width="${width.toFixed(2)}">${shape}</g></g>`;

/** SVG of the line along which the map passes `threshold`, scaled from the grid to the picture. */
export async function contourSvg(grid: Grid, threshold: number, size: Size): Promise<string> {
  const { contours } = await import('d3-contour'); // an ES module only
  const scaleX = size.width / grid.width;
  const scaleY = size.height / grid.height;
  const { coordinates } = contours()
    .size([grid.width, grid.height])
    .contour(grid.values as unknown as number[], threshold);
  const ring = (points: number[][]) =>
    `M${points.map(([x, y]) => `${(x * scaleX).toFixed(1)} ${(y * scaleY).toFixed(1)}`).join('L')}Z`;
  const path = coordinates.flat().map(ring).join('');
  return path && haloed(`<path d="${path}"/>`, '#fff', strokeOf(size));
}

/** SVG of `boxes`, given in pixels of the drawing. */
export function boxesSvg(boxes: readonly Box[], size: Size): string {
  const stroke = strokeOf(size) * 1.4;
  const rect = (box: Box) => {
    // around the region, not on its edge, where the contour runs; and inside the picture
    const left = Math.max(stroke, box.x - stroke * 2);
    const top = Math.max(stroke, box.y - stroke * 2);
    const right = Math.min(size.width - stroke, box.x + box.width + stroke * 2);
    const bottom = Math.min(size.height - stroke, box.y + box.height + stroke * 2);
    const [x, y, width, height] = [left, top, right - left, bottom - top].map(value => Math.max(0, value).toFixed(1));
    return `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="${stroke.toFixed(1)}"/>`;
  };
  return boxes.length > 0 ? haloed(boxes.map(rect).join(''), '#ffe14d', stroke) : '';
}
