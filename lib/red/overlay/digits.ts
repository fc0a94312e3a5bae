/** Digits as strokes on a 4 x 6 grid, so that a number can be drawn on a machine without a single font. */
const strokes: Record<string, { width: number; path: string }> = {
  '0': { width: 4, path: 'M2 0C.7 0 0 1.1 0 3s.7 3 2 3 2-1.1 2-3S3.3 0 2 0z' },
  '1': { width: 2.4, path: 'M.4 1.3 2.2 0V6' },
  '2': { width: 4, path: 'M.1 1.5C.2.6.9 0 2 0s1.9.7 1.9 1.7C3.9 3.3.1 4.3.1 6H4' },
  '3': {
    width: 4,
    path: 'M.2.9C.6.3 1.2 0 2 0c1.1 0 1.8.6 1.8 1.4S3.1 2.8 1.7 2.8C3.2 2.8 4 3.4 4 4.4S3.2 6 2 6C1 6 .4 5.6 0 5'
  },
  '4': { width: 4, path: 'M3.1 6V0L0 4.3H4' },
  '5': { width: 4, path: 'M3.7 0H.7L.4 2.7C.9 2.4 1.4 2.2 2 2.2c1.2 0 2 .7 2 1.9S3.2 6 2 6C1.1 6 .4 5.6 0 5' },
  '6': { width: 4, path: 'M3.6.7C3.2.2 2.8 0 2.2 0 .8 0 0 1.4 0 3.6 0 5.2.8 6 2 6s2-.9 2-2-.8-1.9-2-1.9S0 2.9 0 4' },
  '7': { width: 4, path: 'M0 0H4L1.5 6' },
  '8': {
    width: 4,
    path: 'M2 2.8C.9 2.8.3 2.2.3 1.4S.9 0 2 0s1.7.6 1.7 1.4S3.1 2.8 2 2.8C.7 2.8 0 3.4 0 4.4S.7 6 2 6s2-.6 2-1.6-.7-1.6-2-1.6z'
  },
  '9': {
    width: 4,
    path: 'M.4 5.3C.8 5.8 1.2 6 1.8 6 3.2 6 4 4.6 4 2.4 4 .8 3.2 0 2 0S0 .9 0 2s.8 1.9 2 1.9S4 3.1 4 2'
  },
  '.': { width: 0.4, path: 'M.2 6h.01' },
  '-': { width: 2.6, path: 'M.3 3.2h2' },
  '+': { width: 2.6, path: 'M.1 3.2h2.4M1.3 2v2.4' },
  e: { width: 3.2, path: 'M.1 4.1H3.2C3.2 3 2.7 2.3 1.7 2.3S0 3.1 0 4.2 .7 6 1.8 6C2.4 6 2.9 5.8 3.1 5.4' }
};
const gap = 1.5;

/** Width of `text` in units of its digit height. */
export const textWidth = (text: string): number =>
  [...text].reduce((sum, character) => sum + strokes[character].width + gap, -gap) / 6;

/** SVG of `text` (digits, `.`, `-`, `+`, `e`), its top left corner at `x`, `y`, digits `height` pixels tall. */
export function textSvg(text: string, x: number, y: number, height: number, colour: string): string {
  let at = 0;
  const paths = [...text].map(character => {
    const { width, path } = strokes[character];
    const placed = `<path transform="translate(${at.toFixed(2)} 0)" d="${path}"/>`;
    at += width + gap;
    return placed;
  });
  const place = `translate(${x.toFixed(2)} ${y.toFixed(2)}) scale(${(height / 6).toFixed(4)})`;
  return `<g transform="${place}" fill="none" stroke="${colour}" stroke-width=".8" stroke-linecap="round" stroke-linejoin="round">${paths.join('')}</g>`;
}

/** A number in about three significant digits, in characters that textSvg can draw. */
export function shortNumber(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1);
  return String(Number(value.toPrecision(size >= 1000 ? 4 : 3)));
}
