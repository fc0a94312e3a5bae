import type { Rgb } from './colormaps';
import { shortNumber, textSvg, textWidth } from './digits';
import type { ColourScale } from './scale';
import type { Box, Size } from './size';

const STEPS = 16;

const rect = (x: number, y: number, width: number, height: number, style: string) =>
  `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${width.toFixed(1)}" height="${height.toFixed(1)}" ${style}/>`;

function gradient(colours: readonly Rgb[]): string {
  const stop = (i: number) =>
    `<stop offset="${i / STEPS}" stop-color="rgb(${colours[Math.round(255 * (1 - i / STEPS))].join(' ')})"/>`;
  const stops = Array.from({ length: STEPS + 1 }, (_, i) => stop(i)).join('');
  return `<defs><linearGradient id="scale" x2="0" y2="1">${stops}</linearGradient></defs>`;
}

interface Mark {
  label: string;
  /** share of the bar's height, from its top */
  at: number;
}

/** The scale's ends and the pixel threshold; an end gives way where the threshold's number would touch its. */
function marksOf({ min, max, threshold }: ColourScale, least: number): { ends: Mark[]; limit?: Mark } {
  const mark = (value: number): Mark => ({ label: shortNumber(value), at: (max - value) / (max - min) });
  const limit = threshold !== undefined && threshold > min && threshold < max ? mark(threshold) : undefined;
  const ends = [mark(max), mark(min)].filter(({ at }) => !limit || Math.abs(at - limit.at) > least);
  return { ends, limit };
}

const overlap = (a: Box, b: Box) =>
  Math.max(0, Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x)) *
  Math.max(0, Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y));

/** The corner, lower right first, where the panel hides the least of `regions`. */
function place(panel: Size, margin: number, size: Size, regions: readonly Box[]): Box {
  const right = size.width - panel.width - margin;
  const bottom = size.height - panel.height - margin;
  const hidden = (box: Box) => regions.reduce((sum, region) => sum + overlap(box, region), 0);
  const corners = [right, margin].flatMap(x => [bottom, margin].map(y => ({ x, y, ...panel })));
  return corners.reduce((best, corner) => (hidden(corner) < hidden(best) ? corner : best));
}

/**
 * SVG of the colour scale in a corner that hides none of `regions` (in pixels of the drawing) where there is one: the
 * scale's ends and, as a line across, the pixel threshold.
 * @returns '' where the picture is too small for it
 */
export function scaleBarSvg(scale: ColourScale, colours: readonly Rgb[], size: Size, regions: readonly Box[]): string {
  const text = Math.max(7, Math.min(size.width, size.height) / 44);
  const bar = { width: text * 0.9, height: text * 7 };
  const { ends, limit } = marksOf(scale, (text * 1.4) / bar.height);
  const marks = limit ? [...ends, limit] : ends;
  const labelWidth = Math.max(...marks.map(({ label }) => textWidth(label))) * text;
  const panel = { width: bar.width + labelWidth + text * 2.2, height: bar.height + text * 2 };
  if (panel.width > size.width * 0.4 || panel.height > size.height * 0.6) return '';
  const { x, y } = place(panel, text * 0.6, size, regions);
  const [left, top] = [x + text * 0.7, y + text];
  const line = ({ at }: Mark) =>
    rect(left - text * 0.25, top + at * bar.height - text * 0.1, bar.width + text * 0.6, text * 0.2, 'fill="#fff"');
  const label = ({ label, at }: Mark) =>
    textSvg(label, left + bar.width + text * 0.8, top + at * bar.height - text / 2, text, '#fff');
  return [
    gradient(colours),
    rect(x, y, panel.width, panel.height, `rx="${(text * 0.4).toFixed(1)}" fill="#000" fill-opacity=".6"`),
    rect(left, top, bar.width, bar.height, 'fill="url(#scale)"'),
    limit ? line(limit) : '',
    ...marks.map(label)
  ].join('');
}
