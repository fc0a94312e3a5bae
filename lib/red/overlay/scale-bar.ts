import type { Rgb } from './colormaps';
import { shortNumber, textSvg, textWidth } from './digits';
import type { ColourScale } from './scale';
import type { Size } from './size';

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

/**
 * SVG of the colour scale in the lower right corner: its ends and, as a line across, the pixel threshold.
 * @returns '' where the picture is too small for it
 */
export function scaleBarSvg(scale: ColourScale, colours: readonly Rgb[], size: Size): string {
  const text = Math.max(7, Math.min(size.width, size.height) / 38);
  const bar = { width: text * 0.9, height: text * 9 };
  const { ends, limit } = marksOf(scale, (text * 1.4) / bar.height);
  const marks = limit ? [...ends, limit] : ends;
  const labelWidth = Math.max(...marks.map(({ label }) => textWidth(label))) * text;
  const panel = { width: bar.width + labelWidth + text * 2.2, height: bar.height + text * 2 };
  if (panel.width > size.width * 0.4 || panel.height > size.height * 0.6) return '';
  const left = size.width - panel.width - text * 0.6;
  const top = size.height - panel.height - text * 0.6;
  const [barLeft, barTop] = [left + text * 0.7, top + text];
  const line = ({ at }: Mark) =>
    rect(
      barLeft - text * 0.25,
      barTop + at * bar.height - text * 0.1,
      bar.width + text * 0.6,
      text * 0.2,
      'fill="#fff"'
    );
  const label = ({ label, at }: Mark) =>
    textSvg(label, barLeft + bar.width + text * 0.8, barTop + at * bar.height - text / 2, text, '#fff');
  return [
    gradient(colours),
    rect(left, top, panel.width, panel.height, `rx="${(text * 0.4).toFixed(1)}" fill="#000" fill-opacity=".6"`),
    rect(barLeft, barTop, bar.width, bar.height, 'fill="url(#scale)"'),
    limit ? line(limit) : '',
    ...marks.map(label)
  ].join('');
}
