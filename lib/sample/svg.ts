/** A number as SVG text: three decimals are far below a pixel, and keep the text the same everywhere. */
export const n = (value: number): string => String(Math.round(value * 1000) / 1000);

export const grey = (level: number): string => {
  const v = Math.max(0, Math.min(255, Math.round(level)));
  return `rgb(${v},${v},${Math.min(255, v + 3)})`;
};

/** The point at `radius` and `degrees` clockwise from the top. */
export function polar(radius: number, degrees: number): [x: number, y: number] {
  const a = (degrees * Math.PI) / 180;
  return [radius * Math.sin(a), -radius * Math.cos(a)];
}

export const circle = (x: number, y: number, r: number, style: string): string =>
  `<circle cx="${n(x)}" cy="${n(y)}" r="${n(r)}" ${style}/>`;

export const ring = (r: number, width: number, style: string): string =>
  circle(0, 0, r, `fill="none" stroke-width="${n(width)}" ${style}`);

export const polygon = (points: readonly [number, number][]): string =>
  'M' + points.map(([x, y]) => `${n(x)} ${n(y)}`).join('L') + 'Z';
