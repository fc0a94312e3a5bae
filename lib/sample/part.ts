import { Random } from './random';
import { arcText } from './glyphs';
import { circle, grey, n, polar, ring } from './svg';

/**
 * The product: a turned steel flange with a bore, six countersunk bolt holes, a seal in its groove, engraved marks and a
 * printed label. Drawn in a frame of 400 x 400 units around its centre, whatever the size of the picture.
 */
export const FRAME = 400;
export const OUTER = 168;
export const HUB = 94;
const GROOVE = 80;
const BORE = 47;
export const HOLE_CIRCLE = 128;
export const HOLE = 13;
const LABEL = { from: 103, to: 149, half: 18 };

/** What differs from one good part, and one shot of it, to the next. Lengths in frame units, angles in degrees. */
export interface Part {
  x: number;
  y: number;
  rotation: number;
  scale: number;
  light: { angle: number; gain: number; sharpness: number };
  holes: { angle: number; radius: number; circle: number }[];
  /** turning marks: grey shift of each, from the bore outwards */
  marks: number[];
  label: { angle: number; shift: number };
  mat: { seed: number; tone: number };
  focus: number;
}

export function goodPart(random: Random): Part {
  return {
    x: random.normal(2.2),
    y: random.normal(2.2),
    rotation: random.normal(1.6),
    scale: 1 + random.normal(0.006),
    light: { angle: -38 + random.normal(7), gain: 1 + random.normal(0.035), sharpness: random.between(5, 8) },
    holes: [30, 90, 150, 210, 270, 330].map(angle => ({
      angle: angle + random.normal(0.15),
      radius: HOLE + random.normal(0.2),
      circle: HOLE_CIRCLE + random.normal(0.3)
    })),
    marks: Array.from({ length: 96 }, () => random.normal(0.045)),
    label: { angle: random.normal(0.6), shift: random.normal(0.6) },
    mat: { seed: Math.floor(random.between(1, 9999)), tone: random.normal(3) },
    focus: random.between(0.55, 0.8)
  };
}

/** What a flaw changes in the drawing. */
export interface Flaw {
  /** hole that is not as it should be, and how much of it was drilled: 0 not at all, 1 fully */
  hole?: { index: number; drilled: number };
  /** path of the missing piece of the rim, and what is drawn into it */
  chip?: { path: string; fracture: string };
  /** drawn on the metal, inside the part's outline and outside its holes */
  surface?: string;
  print?: Partial<Print>;
}

interface Print {
  code: string;
  /** printed with this displacement (frame units) on the label */
  dx: number;
  dy: number;
  ghost: number;
  ink: number;
  /** drawn over the print, on the label */
  over: string;
}

function gradients(part: Part): string {
  // the light stays where it is while the part turns
  const [x, y] = polar(0.5, part.light.angle - part.rotation);
  const along = `x1="${n(0.5 + x)}" y1="${n(0.5 + y)}" x2="${n(0.5 - x)}" y2="${n(0.5 - y)}"`;
  const linear = (id: string, from: string, to: string) =>
    `<linearGradient id="${id}" ${along}><stop offset="0" stop-color="${from}"/><stop offset="1" stop-color="${to}"/></linearGradient>`;
  return (
    linear('outward', '#f4f5f7', '#3b3e43') +
    linear('inward', '#2b2d31', '#e9ebee') +
    linear('wall', '#08090a', '#4d5157') +
    linear('seal', '#3a3a3d', '#141416') +
    linear('coat', '#e9bd2c', '#d8a813')
  );
}

/** Turned metal glints in two opposite wedges across its grooves; a softer pair comes from the second lamp. */
function turnedFace(part: Part, outer: number, base: number, gain: number): string {
  const wedges: string[] = [];
  for (let a = 0; a < 360; a += 2) {
    const towards = Math.abs(Math.cos(((a + part.rotation - part.light.angle) * Math.PI) / 180));
    const second = Math.abs(Math.cos(((a + part.rotation - part.light.angle - 67) * Math.PI) / 180));
    const level = base + gain * (towards ** part.light.sharpness + 0.4 * second ** (3 * part.light.sharpness));
    const [x1, y1] = polar(outer, a - 0.4);
    const [x2, y2] = polar(outer, a + 2.4);
    wedges.push(`<path d="M0 0L${n(x1)} ${n(y1)}L${n(x2)} ${n(y2)}Z" fill="${grey(level)}"/>`);
  }
  return wedges.join('');
}

function turningMarks(part: Part): string {
  const step = (OUTER - BORE) / part.marks.length;
  return part.marks
    .map((shift, i) =>
      ring(BORE + i * step, step, `stroke="${shift > 0 ? '#fff' : '#000'}" stroke-opacity="${n(Math.abs(shift))}"`)
    )
    .join('');
}

function boltHole(hole: Part['holes'][number], drilled: number): string {
  if (drilled <= 0) return '';
  const [x, y] = polar(hole.circle, hole.angle);
  const r = hole.radius * (0.35 + 0.65 * drilled);
  const through = drilled >= 1 ? 'fill="#0d0e10"' : 'fill="#5a5d62"';
  return (
    circle(x, y, r + 5 * drilled, 'fill="url(#inward)" fill-opacity=".85"') +
    circle(x, y, r, 'fill="url(#wall)"') +
    circle(x + 0.8, y + 1.2, r - 2.4, through)
  );
}

const engrave = (inner: string) =>
  `<g fill="none" stroke-linecap="round" stroke-linejoin="round">
  <g transform="translate(.5 .7)" stroke="#fff" stroke-opacity=".5" stroke-width=".9">${inner}</g><g stroke="#2a2c30" stroke-opacity=".85" stroke-width=".9">${inner}</g></g>`;

function engravings(): string {
  const ticks: string[] = [];
  for (let a = 0; a < 360; a += 6) {
    const [x1, y1] = polar(a % 30 === 0 ? 152 : 157, a);
    const [x2, y2] = polar(161.5, a);
    ticks.push(`M${n(x1)} ${n(y1)}L${n(x2)} ${n(y2)}`);
  }
  const glyphs = arcText('DN50 PN16', 130, 9.5).replaceAll('<path ', '<path vector-effect="non-scaling-stroke" ');
  const arrow = '<path transform="rotate(60) translate(0 -128)" d="M0 -10V10M-5 -4L0 -10L5 -4M-7 10H7"/>';
  const cross =
    '<path transform="rotate(240) translate(0 -128)" d="M-9 -9H9V9H-9ZM-9 0H9M0 -9V9M4.500 -9V0H9M-9 4.500H0"/>';
  return engrave(`<path d="${ticks.join('')}"/>${glyphs}${arrow}${cross}`);
}

function label(part: Part, changes: Partial<Print> = {}): string {
  const print: Print = { code: 'GP-204', dx: 0, dy: 0, ghost: 0, ink: 0.92, over: '', ...changes };
  const { from, to, half } = LABEL;
  const corners = [polar(to, 180 + half), polar(to, 180 - half), polar(from, 180 - half), polar(from, 180 + half)];
  const [a, b, c, d] = corners.map(([x, y]) => `${n(x)} ${n(y)}`);
  const path = `M${a}A${to} ${to} 0 0 0 ${b}L${c}A${from} ${from} 0 0 1 ${d}Z`;
  let bars = '';
  const widths = [2, 1, 1, 3, 1, 2, 1, 1, 2, 3, 1, 1, 2, 1, 3, 1, 1, 2, 1, 2, 2, 1];
  let angle = 180 + 14.4;
  widths.forEach((width, i) => {
    const next = angle - width * 0.86;
    if (i % 2 === 0) {
      const [p, q, r, s] = [polar(146, angle), polar(146, next), polar(130, next), polar(130, angle)];
      bars += `M${[p, q, r, s].map(([x, y]) => `${n(x)} ${n(y)}`).join('L')}Z`;
    }
    angle = next;
  });
  const ink = `<path d="${bars}" fill="#16171a"/><g fill="none" stroke="#16171a" stroke-width=".75" stroke-linejoin="round">${arcText(print.code, 116.5, 12.4, true)}</g>`;
  const ghost = print.ghost > 0 ? `<g opacity="${n(print.ghost)}" transform="translate(2.600 1.800)">${ink}</g>` : '';
  return `<g transform="rotate(${n(part.label.angle)}) translate(0 ${n(part.label.shift)})">
  <path d="${path}" transform="translate(.8 1.1)" fill="#000" fill-opacity=".35"/><path d="${path}" fill="url(#coat)"/>
  <clipPath id="label"><path d="${path}"/></clipPath><g clip-path="url(#label)">${ghost}<g opacity="${n(print.ink)}" transform="translate(${n(print.dx)} ${n(print.dy)})">${ink}</g>${print.over}</g></g>`;
}

function hub(part: Part): string {
  return (
    circle(1.5, 2.5, HUB + 2, 'fill="#000" fill-opacity=".35" filter="url(#soft)"') +
    `<clipPath id="hub"><circle r="${HUB}"/></clipPath><g clip-path="url(#hub)">${turnedFace(part, HUB, 122, 96)}${turningMarks(part)}</g>` +
    ring(HUB - 1.2, 2.6, 'stroke="url(#outward)"') +
    ring(GROOVE, 13, 'stroke="#17181a"') +
    ring(GROOVE, 10, 'stroke="url(#seal)"') +
    ring(GROOVE - 1.5, 1.6, 'stroke="#8b8d92" stroke-opacity=".45"') +
    ring(GROOVE + 7, 1, 'stroke="url(#inward)"') +
    ring(GROOVE - 7, 1, 'stroke="url(#outward)"') +
    circle(0, 0, BORE + 4, 'fill="url(#inward)"') +
    circle(0, 0, BORE, 'fill="url(#wall)"') +
    circle(1.5, 3, BORE - 5.5, 'fill="#0b0c0e"') +
    ring(BORE - 2.6, 1, 'stroke="#9a9da3" stroke-opacity=".3"')
  );
}

/** The part on its mat as an SVG document, `size` pixels square. */
export function drawPart(part: Part, size: number, flaw: Flaw = {}): string {
  const holes = part.holes.map((hole, i) => boltHole(hole, flaw.hole?.index === i ? flaw.hole.drilled : 1)).join('');
  const openings = part.holes.map(hole => {
    const [x, y] = polar(hole.circle, hole.angle);
    return circle(x, y, hole.radius + 5, 'fill="#000"');
  });
  const chip = flaw.chip ? `<path d="${flaw.chip.path}" fill="#000"/>` : '';
  const pose = `translate(${n(part.x)} ${n(part.y)}) rotate(${n(part.rotation)}) scale(${n(part.scale)})`;
  const [sx, sy] = polar(-7, part.light.angle);
  const half = FRAME / 2;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}" viewBox="${-half} ${-half} ${FRAME} ${FRAME}" color-interpolation-filters="sRGB">
<defs>${gradients(part)}
<filter id="soft" x="-20%" y="-20%" width="140%" height="140%"><feGaussianBlur stdDeviation="5"/></filter>
<filter id="faint" x="-60%" y="-60%" width="220%" height="220%"><feGaussianBlur stdDeviation="1.600"/></filter>
<filter id="mat" x="0" y="0" width="100%" height="100%"><feTurbulence type="fractalNoise" baseFrequency=".35" numOctaves="3" seed="${part.mat.seed}"/>
<feColorMatrix values=".13 0 0 0 ${n(0.155 + part.mat.tone / 255)} .13 0 0 0 ${n(0.18 + part.mat.tone / 255)} .13 0 0 0 ${n(0.205 + part.mat.tone / 255)} 0 0 0 0 1"/></filter>
<mask id="outline"><rect x="-200" y="-200" width="400" height="400" fill="#000"/><circle r="${OUTER}" fill="#fff"/>${chip}</mask>
<mask id="metal"><circle r="${OUTER}" fill="#fff"/><circle r="${BORE + 4}" fill="#000"/>${openings.join('')}</mask>
</defs>
<rect x="-200" y="-200" width="400" height="400" filter="url(#mat)"/>
<g transform="translate(${n(sx)} ${n(sy)})"><g transform="${pose}" filter="url(#soft)"><circle r="${OUTER + 1}" fill="#000" fill-opacity=".55"/></g></g>
<g transform="${pose}"><g mask="url(#outline)">
${turnedFace(part, OUTER + 4, 104, 92)}${turningMarks(part)}
${ring(OUTER - 2, 4, 'stroke="url(#outward)"')}${ring(OUTER - 4.6, 0.9, 'stroke="#1d1f22" stroke-opacity=".5"')}
${engravings()}${hub(part)}${holes}${label(part, flaw.print)}
${flaw.surface ? `<g mask="url(#metal)">${flaw.surface}</g>` : ''}
</g>${flaw.chip?.fracture ?? ''}</g></svg>`;
}
