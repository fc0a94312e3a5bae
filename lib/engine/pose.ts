// Finds the part in a small picture, and how it lies against another one.
import { labelComponents } from './components';
import type { Picture } from './decode';

/** Polar picture of a part: directions and distances from its middle. */
const [DIRECTIONS, RINGS] = [180, 32];
/** Directions that are tried to the end: of a part that looks alike from several sides only the details tell them apart. */
const TRIED = 3;
/** A part is larger than this share of the picture, and smaller than that. */
const SHARE = { least: 0.002, most: 0.9 };
/** Pieces that weigh so much of the heaviest belong to the part: something pale may lie between them. Dirt is lighter. */
const PIECE = 0.05;
/** So many of its pixels have others of it all around; what noise joins has holes everywhere. */
const SOLID = 0.15;
/** Refinement: the first and the last step, degrees and pixels of the small picture. */
const STEP = { first: 2, last: 0.06 };

/** How a part lies: its middle, pixels of the picture, and its angle against the reference's, radians, clockwise. */
export interface Pose {
  x: number;
  y: number;
  angle: number;
}

/** How much a part differs from the background: grey levels, [height, width]; zero where no part is. */
export interface Part {
  data: Float32Array;
  width: number;
  height: number;
  /** middle of the part */
  x: number;
  y: number;
}

/** What a part lies on, at the picture's border, and how much each pixel differs from it: grey levels, the largest of the channels. */
function contrast(data: Uint8Array, width: number, height: number): Float32Array {
  const edge: number[] = [];
  for (let x = 0; x < width; x++) edge.push(x, (height - 1) * width + x);
  for (let y = 1; y < height - 1; y++) edge.push(y * width, y * width + width - 1);
  const [red, green, blue] = [0, 1, 2].map(c => edge.map(i => data[3 * i + c]).sort((a, b) => a - b)[edge.length >> 1]);
  const levels = new Float32Array(width * height);
  for (let i = 0, at = 0; i < levels.length; i++, at += 3)
    levels[i] = Math.max(Math.abs(data[at] - red), Math.abs(data[at + 1] - green), Math.abs(data[at + 2] - blue));
  return levels;
}

/** The value that parts a set of grey levels into two classes, each as even as can be. Source: Otsu (1979). */
function otsu(values: Float32Array): number {
  const histogram = new Float64Array(256);
  values.forEach(v => histogram[Math.round(v)]++);
  const sum = histogram.reduce((a, n, v) => a + n * v, 0);
  let [below, sumBelow, best, between] = [0, 0, 0, -1];
  for (let v = 0; v < 255; v++) {
    below += histogram[v];
    sumBelow += v * histogram[v];
    const above = values.length - below;
    if (!below || !above) continue;
    const spread = below * above * (sumBelow / below - (sum - sumBelow) / above) ** 2;
    if (spread > between) [between, best] = [spread, v];
  }
  return best;
}

/** The part in a small picture; nothing where none stands out from the background. */
export function findPart({ data: rgb, width, height }: Picture): Part | undefined {
  const data = contrast(rgb, width, height);
  const limit = otsu(data);
  const { labels, count } = labelComponents(
    Uint8Array.from(data, v => Number(v > limit)),
    width,
    height
  );
  const weight = new Float64Array(count + 1);
  labels.forEach((label, i) => label && (weight[label] += data[i]));
  const heaviest = Math.max(...weight);
  const isPart = (label: number): boolean => label > 0 && weight[label] >= PIECE * heaviest;
  let [size, inner, x, y] = [0, 0, 0, 0];
  const around = [-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1];
  labels.forEach((label, i) => {
    if (!isPart(label)) {
      data[i] = 0;
      return;
    }
    size++;
    x += i % width;
    y += Math.floor(i / width);
    if (around.every(step => labels[i + step] === label)) inner++;
  });
  if (size < SHARE.least * data.length || size > SHARE.most * data.length || inner < SOLID * size) return undefined;
  return { data, width, height, x: x / size, y: y / size };
}

/** Bilinear; `outside` beyond the outermost pixels' edges. */
export function at(
  { data, width, height }: { data: Float32Array; width: number; height: number },
  x: number,
  y: number,
  outside = 0
): number {
  if (x < -0.5 || y < -0.5 || x > width - 0.5 || y > height - 0.5) return outside;
  x = Math.min(Math.max(x, 0), width - 1);
  y = Math.min(Math.max(y, 0), height - 1);
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [fx, fy] = [x - left, y - top];
  const i = top * width + left;
  const right = left + 1 < width ? 1 : 0;
  const down = top + 1 < height ? width : 0;
  const upper = data[i] + fx * (data[i + right] - data[i]);
  const lower = data[i + down] + fx * (data[i + down + right] - data[i + down]);
  return upper + fy * (lower - upper);
}

/** The part seen from its middle, [RINGS, DIRECTIONS]; a ring counts by its length. */
function polar(part: Part, reach: number): Float32Array {
  const seen = new Float32Array(RINGS * DIRECTIONS);
  for (let ring = 0; ring < RINGS; ring++) {
    const r = ((ring + 0.5) * reach) / RINGS;
    for (let d = 0; d < DIRECTIONS; d++) {
      const a = (2 * Math.PI * d) / DIRECTIONS;
      seen[ring * DIRECTIONS + d] = at(part, part.x + r * Math.cos(a), part.y + r * Math.sin(a)) * Math.sqrt(r);
    }
  }
  return seen;
}

/** Angles at which two polar pictures agree best, best first: the peaks of their circular correlation. */
function turns(reference: Float32Array, seen: Float32Array): number[] {
  const sums = new Float64Array(DIRECTIONS);
  for (let ring = 0; ring < RINGS; ring++) {
    const from = ring * DIRECTIONS;
    for (let d = 0; d < DIRECTIONS; d++) {
      const r = reference[from + d];
      if (r) for (let s = 0; s < DIRECTIONS; s++) sums[s] += r * seen[from + ((d + s) % DIRECTIONS)];
    }
  }
  const near = (s: number): number => sums[(s + DIRECTIONS) % DIRECTIONS];
  return Array.from(sums.keys())
    .filter(s => sums[s] >= near(s - 1) && sums[s] > near(s + 1))
    .sort((a, b) => sums[b] - sums[a])
    .slice(0, TRIED)
    .map(s => (2 * Math.PI * s) / DIRECTIONS);
}

/** Correlation (-1..1) of the reference with a part in a pose, over pixels of the reference. */
function correlation(reference: Part, part: Part, { x, y, angle }: Pose, pixels: Int32Array): number {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  let [a, b, aa, bb, ab] = [0, 0, 0, 0, 0];
  for (const i of pixels) {
    const u = (i % reference.width) - reference.x;
    const v = Math.floor(i / reference.width) - reference.y;
    const p = reference.data[i];
    const q = at(part, x + cos * u - sin * v, y + sin * u + cos * v);
    a += p;
    b += q;
    aa += p * p;
    bb += q * q;
    ab += p * q;
  }
  const n = pixels.length;
  const spread = (aa - (a * a) / n) * (bb - (b * b) / n);
  return spread > 0 ? (ab - (a * b) / n) / Math.sqrt(spread) : 0;
}

/** Climbs to the best pose nearby, in ever smaller steps. */
function refined(reference: Part, part: Part, start: Pose, pixels: Int32Array): Pose {
  let best = start;
  let value = correlation(reference, part, best, pixels);
  for (let step = STEP.first; step >= STEP.last; step /= 2) {
    for (let moved = true; moved;) {
      moved = false;
      for (const [key, by] of [
        ['angle', (step * Math.PI) / 180],
        ['x', step],
        ['y', step]
      ] as const)
        for (const sign of [1, -1]) {
          const pose = { ...best, [key]: best[key] + sign * by };
          const got = correlation(reference, part, pose, pixels);
          if (got > value) [best, value, moved] = [pose, got, true];
        }
    }
  }
  return best;
}

/** Compares parts with one of them. */
export class Comparison {
  private readonly polar: Float32Array;
  /** pixels of the reference's part and around it */
  private readonly near: Int32Array;
  /** all of its pixels */
  private readonly all: Int32Array;

  constructor(private readonly reference: Part) {
    this.polar = polar(reference, this.reach);
    this.all = Int32Array.from(reference.data.keys());
    const around = [-3, 0, 3];
    this.near = this.all.filter(i => {
      const [x, y] = [i % reference.width, Math.floor(i / reference.width)];
      return around.some(dy => around.some(dx => at(reference, x + dx, y + dy) > 0));
    });
  }

  /** How a part of a picture of the same scale lies, and how well (up to 1) it then agrees; nothing where no direction is like any other. */
  pose(part: Part): { pose: Pose; match: number } | undefined {
    let best: { pose: Pose; match: number } | undefined;
    for (const angle of turns(this.polar, polar(part, this.reach))) {
      const pose = refined(this.reference, part, { x: part.x, y: part.y, angle }, this.near);
      const match = correlation(this.reference, part, pose, this.all);
      if (!best || match > best.match) best = { pose, match };
    }
    return best;
  }

  /** How far around its middle a part is compared. */
  private get reach(): number {
    return Math.hypot(this.reference.width, this.reference.height) / 2;
  }
}
