import { HOLE_CIRCLE, HUB, OUTER, type Flaw } from './part';
import { Random } from './random';
import { n, polar, polygon } from './svg';

type Point = [number, number];

/** A point on the turned face, between the bolt holes. */
function facePoint(random: Random): Point {
  const gap = random.pick([60, 120, 240, 300]);
  return polar(random.between(HUB + 10, OUTER - 12), gap + random.between(-13, 13));
}

const bent = (points: readonly Point[]) =>
  points.map(([x, y], i) => `${i === 0 ? 'M' : i === 1 ? 'Q' : ' '}${n(x)} ${n(y)}`).join('');

/** A tool mark: a bright groove with a dark flank, long or short, straight or bent, sometimes two side by side. */
function scratch(random: Random, severity: number): Flaw {
  const lines: string[] = [];
  const [x, y] = facePoint(random);
  const direction = random.between(0, 2 * Math.PI);
  const length = 34 + 90 * severity * random.between(0.7, 1);
  const width = 0.9 + 0.9 * severity;
  for (let i = 0; i <= (random.next() < 0.3 ? 1 : 0); i++) {
    const turn = direction + random.between(-0.08, 0.08);
    const [dx, dy] = [Math.cos(turn), Math.sin(turn)];
    const bow = random.between(-0.18, 0.18) * length;
    const at = (along: number, side: number): Point => [
      x + dx * along * length - dy * (side + i * 4),
      y + dy * along * length + dx * (side + i * 4)
    ];
    lines.push(bent([at(-0.5, 0), at(0, bow), at(0.5, random.between(-2, 2))]));
  }
  const stroke = (colour: string, opacity: number, move: number) =>
    `<path transform="translate(${move} ${move})" d="${lines.join('')}" stroke="${colour}" stroke-opacity="${n(opacity)}"/>`;
  return {
    surface: `<g fill="none" stroke-linecap="round" stroke-width="${n(width)}">${stroke('#15161a', 0.5 + 0.35 * severity, 0.8)}${stroke('#ffffff', 0.6 + 0.3 * severity, 0)}</g>`
  };
}

/** A blow: a shallow dish, dark on the side towards the lamp and bright on the other, with a raised lip. */
function dent(random: Random, severity: number): Flaw {
  const [x, y] = facePoint(random);
  const r = 5 + 11 * severity;
  const strength = 0.4 + 0.45 * severity;
  const ellipse = (dx: number, dy: number, scale: number, style: string) =>
    `<ellipse cx="${n(dx)}" cy="${n(dy)}" rx="${n(r * scale)}" ry="${n(r * scale * 0.8)}" ${style}/>`;
  return {
    surface: `<g transform="translate(${n(x)} ${n(y)}) rotate(${n(random.between(-50, -10))})"><g filter="url(#faint)">
${ellipse(0, 0, 1.05, `fill="#5c6066" fill-opacity="${n(strength)}"`)}
${ellipse(-0.1 * r, -0.38 * r, 0.72, `fill="#101114" fill-opacity="${n(strength)}"`)}
${ellipse(0.1 * r, 0.5 * r, 0.6, `fill="#f6f7f9" fill-opacity="${n(strength)}"`)}</g>
${ellipse(0, 0, 1.1, `fill="none" stroke="#e8eaee" stroke-width="1" stroke-opacity="${n(0.5 * strength)}"`)}</g>`
  };
}

function blob(random: Random, x: number, y: number, r: number): string {
  const points: Point[] = [];
  const phases = [random.between(0, 6.28), random.between(0, 6.28), random.between(0, 6.28)];
  for (let i = 0; i < 40; i++) {
    const a = (i * Math.PI) / 20;
    const wobble =
      1 + 0.2 * Math.sin(2 * a + phases[0]) + 0.13 * Math.sin(3 * a + phases[1]) + 0.07 * Math.sin(7 * a + phases[2]);
    points.push([x + r * wobble * Math.cos(a), y + r * wobble * Math.sin(a)]);
  }
  return polygon(points);
}

/** Oil or rust: an uneven film with a darker rim, and a few droplets. */
function stain(random: Random, severity: number): Flaw {
  const [x, y] = facePoint(random);
  const r = 9 + 19 * severity;
  const [film, rim] = random.pick([
    ['#4a3413', '#2b1c08'],
    ['#7a3f16', '#5a280a'],
    ['#1c2026', '#0c0e11']
  ] as const);
  let shapes = '';
  const drops = Math.floor(random.between(1, 5));
  for (let i = 0; i <= drops; i++) {
    const away = i === 0 ? 0 : r * random.between(1.1, 1.6);
    const a = random.between(0, 6.28);
    const path = blob(
      random,
      x + away * Math.cos(a),
      y + away * Math.sin(a),
      i === 0 ? r : r * random.between(0.08, 0.2)
    );
    shapes += `<path d="${path}" fill="${film}" stroke="${rim}" stroke-width="1.600" stroke-opacity=".5"/>`;
  }
  return { surface: `<g opacity="${n(0.28 + 0.4 * severity)}" filter="url(#faint)">${shapes}</g>` };
}

/** A bolt hole that was not drilled, or not all the way. */
function missingHole(random: Random, severity: number): Flaw {
  return {
    hole: { index: Math.floor(random.between(0, 6)), drilled: severity > 0.55 ? 0 : random.between(0.35, 0.75) }
  };
}

/** A bite out of the rim with a rough, bright fracture. */
function chippedEdge(random: Random, severity: number): Flaw {
  const angle = random.between(0, 360);
  const depth = 4 + 12 * severity;
  const half = ((depth * random.between(1, 1.6)) / OUTER) * (180 / Math.PI);
  const edge = (reach: number, rough: number): Point[] => {
    const points: Point[] = [];
    for (let i = 0; i <= 12; i++) {
      const t = i / 6 - 1;
      points.push(polar(OUTER - reach * (1 - t * t) * (1 + random.between(-rough, rough)), angle + t * half));
    }
    return points;
  };
  const outside: Point[] = [polar(OUTER + 6, angle + half), polar(OUTER + 6, angle - half)];
  const inner = edge(depth, 0.3);
  const bite = edge(depth * 0.72, 0.4);
  const facets = inner.slice(1).map((point, i) => {
    const shade = random.pick(['#b9bcc2', '#8d9096', '#6b6e74', '#46494e']);
    return `<path d="${polygon([inner[i], point, bite[i + 1], bite[i]])}" fill="${shade}"/>`;
  });
  return { chip: { path: polygon([...inner, ...outside]), fracture: facets.join('') } };
}

/** A label that was printed wrong: another code, displaced, printed twice, faded or smeared. */
function misprint(random: Random, severity: number): Flaw {
  const x = random.between(-14, 14);
  const width = 7 + 9 * severity;
  const smear = `<rect x="${n(x - width)}" y="${n(HOLE_CIRCLE - 22)}" width="${n(2 * width)}" height="40" fill="#2a2a26" fill-opacity="${n(0.5 + 0.35 * severity)}" filter="url(#faint)"/>`;
  const print = random.pick<NonNullable<Flaw['print']>>([
    { code: random.pick(['GP-284', 'GP-2 4', 'GP-504', 'G -204']) },
    { dx: random.pick([-1, 1]) * (6 + 12 * severity), dy: random.between(-3, 3) },
    { ghost: 0.45 + 0.4 * severity },
    { ink: 0.35 * (1 - severity) },
    { over: smear }
  ]);
  return { print };
}

/** The six kinds of defect; each takes a severity from 0 (subtle) to 1 (plain to see). */
export const defects = {
  scratch,
  dent,
  stain,
  missing_hole: missingHole,
  chipped_edge: chippedEdge,
  misprint
} satisfies Record<string, (random: Random, severity: number) => Flaw>;

export type DefectKind = keyof typeof defects;
export const defectKinds = Object.keys(defects) as DefectKind[];
