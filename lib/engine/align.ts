import sharp from 'sharp';
import { labelComponents } from './components';
import type { Picture } from './decode';

/** Longest side of the small pictures in which a part is looked for, pixels. */
const WORK = 192;
/** Polar picture of a part: directions and distances from its middle. */
const [DIRECTIONS, RINGS] = [180, 32];
/** Directions that are tried to the end: of a part that looks alike from several sides only the details tell them apart. */
const TRIED = 3;
/** A part is larger than this share of the picture, and smaller than that. */
const SHARE = { least: 0.002, most: 0.9 };
/** Refinement: the first and the last step, degrees and pixels of the small picture. */
const STEP = { first: 2, last: 0.06 };

/** How a part lies: its middle, pixels of the picture, and its angle against the reference's, radians, clockwise. */
export interface Pose {
  x: number;
  y: number;
  angle: number;
}

/** Grey levels above the background, [h, w]; zero where no part is. */
interface Small {
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
  const ground = [0, 1, 2].map(c => edge.map(i => data[3 * i + c]).sort((a, b) => a - b)[edge.length >> 1]);
  return Float32Array.from({ length: width * height }, (_, i) =>
    Math.max(...ground.map((g, c) => Math.abs(data[3 * i + c] - g)))
  );
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

/** The part in a picture that was made small by `scale`; nothing where none stands out from the background. */
async function find(picture: Picture, scale: number): Promise<Small | undefined> {
  const width = Math.max(8, Math.round(picture.width * scale));
  const height = Math.max(8, Math.round(picture.height * scale));
  const rgb = await sharp(picture.data, { raw: { width: picture.width, height: picture.height, channels: 3 } })
    .resize(width, height, { fit: 'fill' })
    .raw()
    .toBuffer();
  const data = contrast(rgb, width, height);
  const limit = otsu(data);
  const { labels, count } = labelComponents(
    Uint8Array.from(data, v => Number(v > limit)),
    width,
    height
  );
  const weight = new Float64Array(count + 1);
  labels.forEach((label, i) => label && (weight[label] += data[i]));
  const part = weight.indexOf(Math.max(...weight));
  let [size, x, y] = [0, 0, 0];
  labels.forEach((label, i) => {
    if (label !== part || !part) data[i] = 0;
    else {
      size++;
      x += i % width;
      y += Math.floor(i / width);
    }
  });
  if (size < SHARE.least * data.length || size > SHARE.most * data.length) return undefined;
  return { data, width, height, x: x / size, y: y / size };
}

/** Bilinear; zero outside. */
function at({ data, width, height }: Small, x: number, y: number): number {
  if (x < 0 || y < 0 || x > width - 1 || y > height - 1) return 0;
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
function polar(small: Small, reach: number): Float32Array {
  const seen = new Float32Array(RINGS * DIRECTIONS);
  for (let ring = 0; ring < RINGS; ring++) {
    const r = ((ring + 0.5) * reach) / RINGS;
    for (let d = 0; d < DIRECTIONS; d++) {
      const a = (2 * Math.PI * d) / DIRECTIONS;
      seen[ring * DIRECTIONS + d] = at(small, small.x + r * Math.cos(a), small.y + r * Math.sin(a)) * Math.sqrt(r);
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
function correlation(reference: Small, part: Small, { x, y, angle }: Pose, pixels: Int32Array): number {
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
function refined(reference: Small, part: Small, start: Pose, pixels: Int32Array): Pose {
  let best = start;
  let value = correlation(reference, part, best, pixels);
  for (let step = STEP.first; step >= STEP.last; step /= 2) {
    for (let moved = true; moved; ) {
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

/** A picture's part as another picture's lies. */
export class Aligner {
  private readonly polar: Float32Array;
  /** the reference's part and what is around it; and all of its picture */
  private readonly near: Int32Array;
  private readonly all: Int32Array;

  private constructor(
    private readonly small: Small,
    private readonly scale: number,
    readonly width: number,
    readonly height: number
  ) {
    this.all = Int32Array.from(small.data.keys());
    const reach = Math.hypot(small.width, small.height) / 2;
    this.polar = polar(small, reach);
    this.near = this.all.filter(i => {
      const [x, y] = [i % small.width, Math.floor(i / small.width)];
      for (let dy = -3; dy <= 3; dy += 3)
        for (let dx = -3; dx <= 3; dx += 3) if (at(small, x + dx, y + dy) > 0) return true;
      return false;
    });
  }

  /** Nothing where no part stands out from the background. */
  static async create(reference: Picture): Promise<Aligner | undefined> {
    const scale = Math.min(1, WORK / Math.max(reference.width, reference.height));
    const small = await find(reference, scale);
    return small && new Aligner(small, scale, reference.width, reference.height);
  }

  /** How the part in a picture lies, and how well (0..1) it then agrees with the reference's. */
  async pose(picture: Picture): Promise<{ pose: Pose; match: number } | undefined> {
    const part = await find(picture, this.scale);
    if (!part) return undefined;
    const reach = Math.hypot(this.small.width, this.small.height) / 2;
    let best: { pose: Pose; match: number } | undefined;
    for (const angle of turns(this.polar, polar(part, reach))) {
      const pose = refined(this.small, part, { x: part.x, y: part.y, angle }, this.near);
      const match = correlation(this.small, part, pose, this.all);
      if (!best || match > best.match) best = { pose, match };
    }
    if (!best) return undefined;
    const full = (n: number): number => (n + 0.5) / this.scale - 0.5;
    return { match: best.match, pose: { angle: best.pose.angle, x: full(best.pose.x), y: full(best.pose.y) } };
  }

  /** Middle of the reference's part, pixels. */
  get middle(): { x: number; y: number } {
    const full = (n: number): number => (n + 0.5) / this.scale - 0.5;
    return { x: full(this.small.x), y: full(this.small.y) };
  }

  /** The picture turned and moved so that its part lies as the reference's, [height, width]; its edge goes on beyond it. */
  turned(picture: Picture, { x, y, angle }: Pose): Picture {
    const { width, height, middle } = this;
    const data = new Uint8Array(width * height * 3);
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const [right, bottom] = [picture.width - 1, picture.height - 1];
    const line = 3 * picture.width;
    const from = picture.data;
    for (let v = 0, to = 0; v < height; v++) {
      let px = x - cos * middle.x - sin * (v - middle.y);
      let py = y - sin * middle.x + cos * (v - middle.y);
      for (let u = 0; u < width; u++, px += cos, py += sin) {
        const cx = Math.min(Math.max(px, 0), right);
        const cy = Math.min(Math.max(py, 0), bottom);
        const [left, top] = [cx | 0, cy | 0];
        const [fx, fy] = [cx - left, cy - top];
        const i = top * line + 3 * left;
        const next = left < right ? 3 : 0;
        const below = i + (top < bottom ? line : 0);
        for (let c = 0; c < 3; c++) {
          const upper = from[i + c] + fx * (from[i + next + c] - from[i + c]);
          const lower = from[below + c] + fx * (from[below + next + c] - from[below + c]);
          data[to++] = upper + fy * (lower - upper) + 0.5;
        }
      }
    }
    return { data, width, height };
  }
}
