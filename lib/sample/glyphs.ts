import { n } from './svg';

/** Stroke glyphs on a grid 4 wide and 6 high, origin top left: what is written never depends on installed fonts. */
const strokes: Record<string, string> = {
  '0': 'M1 0H3L4 1V5L3 6H1L0 5V1Z',
  '1': 'M.8 1.4L2 0V6M.6 6H3.4',
  '2': 'M0 1L1 0H3L4 1V2L0 6H4',
  '3': 'M0 1L1 0H3L4 1V2L3 3H1.5M3 3L4 4V5L3 6H1L0 5',
  '4': 'M3 6V0L0 4H4',
  '5': 'M4 0H0V2.6H3L4 3.6V5L3 6H1L0 5',
  '6': 'M4 1L3 0H1L0 1V5L1 6H3L4 5V3.6L3 2.6H0',
  '8': 'M1 0H3L4 1V2L3 3H1L0 2V1ZM1 3L0 4V5L1 6H3L4 5V4L3 3',
  D: 'M0 0H2.6L4 1.4V4.6L2.6 6H0Z',
  G: 'M4 1L3 0H1L0 1V5L1 6H3L4 5V3.2H2.2',
  N: 'M0 6V0L4 6V0',
  P: 'M0 6V0H3L4 1V2.2L3 3.2H0',
  '-': 'M.6 3H3.4',
  ' ': ''
};

/** SVG paths of `text` along a circle around the origin, centred at the top of it or, `below`, at its bottom; always readable from below. */
export function arcText(text: string, radius: number, height: number, below = false): string {
  const unit = height / 6;
  const advance = (5.6 * unit) / radius;
  const glyph = (char: string, i: number) => {
    const offset = ((i - (text.length - 1) / 2) * advance * 180) / Math.PI;
    const turn = below ? -offset : offset;
    const place = `rotate(${n(turn)}) translate(${n(-2 * unit)} ${n((below ? radius : -radius) - 3 * unit)}) scale(${n(unit)})`;
    return `<path transform="${place}" d="${strokes[char] ?? strokes['8']}"/>`;
  };
  return [...text].map(glyph).join('');
}
