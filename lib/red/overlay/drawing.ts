import type { Grid } from './grid';
import type { Box, Size } from './size';

/** Stroke width that suits a picture of this size. */
const strokeOf = ({ width, height }: Size) => Math.max(1, Math.min(width, height) / 400);

/** Two strokes, so that a line shows on dark and on bright parts alike. */
const haloed = (shape: string, colour: string, width: number) =>
  `<g fill="none" stroke-linejoin="round"><g stroke="#000" stroke-opacity=".6" stroke-width="${(width * 2.2).toFixed(2)}">${shape}</g>` +
  `<g stroke="${colour}" stroke-width="${width.toFixed(2)}">${shape}</g></g>`;

/** The outline of where a grid is above a limit, as the data of an SVG path, scaled from the grid to the picture. */
async function outline({ values, width, height }: Grid, limit: number, size: Size): Promise<string> {
  const { contours } = await import('d3-contour'); // an ES module only
  const [scaleX, scaleY] = [size.width / width, size.height / height];
  const { coordinates } = contours()
    .size([width, height])
    .contour(values as unknown as number[], limit);
  const ring = (points: number[][]) =>
    `M${points.map(([x, y]) => `${(x * scaleX).toFixed(1)} ${(y * scaleY).toFixed(1)}`).join('L')}Z`;
  return coordinates.flat().map(ring).join('');
}

/** SVG of the line along which the map passes `threshold`. */
export async function contourSvg(grid: Grid, threshold: number, size: Size): Promise<string> {
  const path = await outline(grid, threshold, size);
  return path && haloed(`<path d="${path}"/>`, '#fff', strokeOf(size));
}

/** SVG of a veil with a light hatching over what was not inspected, NaN in the map; '' where all of it was. */
export async function notInspectedSvg(grid: Grid, size: Size): Promise<string> {
  if (!grid.values.some(Number.isNaN)) return '';
  const inspected = grid.values.map(value => (Number.isNaN(value) ? 0 : 1));
  const path = `M0 0H${size.width}V${size.height}H0Z${await outline({ ...grid, values: inspected }, 0.5, size)}`;
  const [step, stroke] = [strokeOf(size) * 10, strokeOf(size)];
  return (
    `<pattern id="hatch" width="${step}" height="${step}" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">` +
    `<rect width="${step}" height="${step}" fill-opacity=".4"/>` +
    `<rect width="${(stroke * 1.5).toFixed(2)}" height="${step}" fill="#fff" fill-opacity=".3"/></pattern>` +
    `<path d="${path}" fill="url(#hatch)" fill-rule="evenodd"/>`
  );
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
