import sharp from 'sharp';
import type { Picture } from './decode';
import type { Inspect, Inspected, Inspector } from './detector';
import { GoodpartsError } from './errors';
import { MAX_MAP, type ScoreMap } from './head';
import { at, Comparison, findPart, type Part, type Pose } from './pose';
import type { Alignment, Calibration, FitSettings } from './types';
import type { Arrays } from './version';

/** Longest side of the small pictures in which a part is looked for, pixels. */
const WORK = 192;
/** From here on a part is longer than wide: the difference of its spreads along and across, relative to their sum. */
const LONG = 0.3;
/** What is looked at around a part on each side, of its length. */
const MARGIN = 0.08;
/** A part that agrees less with the reference was not found. */
const LEAST_MATCH = 0.5;
/** What cannot be aligned scores so many times the highest score of a good part, at the least. */
const NOT_FOUND = 1.5;

type Settings = Pick<Required<FitSettings>, 'align' | 'inputWidth' | 'inputHeight'>;

/** A picture at another scale. */
async function scaled(picture: Picture, scale: number): Promise<Picture> {
  const [width, height] = [picture.width, picture.height].map(n => Math.max(8, Math.round(n * scale)));
  const data = await sharp(picture.data, { raw: { width: picture.width, height: picture.height, channels: 3 } })
    .resize(width, height, { fit: 'fill' })
    .raw()
    .toBuffer();
  return { data, width, height };
}

/** What is looked at, pixels of the reference. */
interface Frame {
  width: number;
  height: number;
  /** where in it the middle of the part is */
  middle: { x: number; y: number };
  /** how it is turned against the reference, radians, clockwise */
  tilt: number;
}

/** From a pixel of the small picture to one of the full picture. */
const full = (n: number, scale: number): number => (n + 0.5) / scale - 0.5;

/** The whole of the reference, or what is around its part: a long part lies along the network's input, and has its aspect. */
function frameOf(part: Part, scale: number, size: { width: number; height: number }, settings: Settings): Frame {
  if (settings.align !== 'crop')
    return { ...size, middle: { x: full(part.x, scale), y: full(part.y, scale) }, tilt: 0 };
  const pixels = Array.from(part.data.keys())
    .filter(i => part.data[i] > 0)
    .map(i => [(i % part.width) - part.x, Math.floor(i / part.width) - part.y]);
  const [xx, yy, xy] = pixels.reduce(([a, b, c], [x, y]) => [a + x * x, b + y * y, c + x * y], [0, 0, 0]);
  const spread = Math.hypot(xx - yy, 2 * xy) / (xx + yy);
  const { inputWidth, inputHeight } = settings;
  const along = Math.atan2(2 * xy, xx - yy) / 2;
  const tilt = spread < LONG ? 0 : along + (inputHeight > inputWidth ? Math.PI / 2 : 0);
  const [cos, sin] = [Math.cos(tilt), Math.sin(tilt)];
  let [left, right, top, bottom] = [0, 0, 0, 0];
  for (const [x, y] of pixels) {
    const [u, v] = [cos * x + sin * y, cos * y - sin * x];
    [left, right] = [Math.min(left, u), Math.max(right, u)];
    [top, bottom] = [Math.min(top, v), Math.max(bottom, v)];
  }
  const margin = MARGIN * Math.max(right - left, bottom - top);
  const [w, h] = [right - left + 2 * margin, bottom - top + 2 * margin];
  // as large as needed for both sides at the input's aspect
  const width = Math.max(w, (h * inputWidth) / inputHeight) / scale;
  const height = (width * inputHeight) / inputWidth;
  const middle = { x: width / 2 - (left + right) / 2 / scale, y: height / 2 - (top + bottom) / 2 / scale };
  return { width: Math.round(width), height: Math.round(height), middle, tilt };
}

/** Where a part was found. */
interface Found {
  pose: Pose;
  match: number;
}

/** Turns and moves pictures so that the part in each lies as the one in the reference. */
export class Aligner {
  private readonly part: Part;
  private readonly comparison: Comparison;
  private readonly scale: number;
  private readonly frame: Frame;

  /**
   * @param small the reference, made small
   * @param size of the reference itself, pixels
   * @throws GoodpartsError `image-align` where no part stands out
   */
  constructor(
    private readonly small: Picture,
    private readonly size: { width: number; height: number },
    settings: Settings
  ) {
    const part = findPart(small);
    if (!part)
      throw notFound('No part stands out from the background in the first picture, which the others are aligned to.');
    this.part = part;
    this.scale = small.width / size.width;
    this.frame = frameOf(part, this.scale, size, settings);
    this.comparison = new Comparison(part);
  }

  /** @throws GoodpartsError `image-align` */
  static async create(reference: Picture, settings: Settings): Promise<Aligner> {
    const { width, height } = reference;
    const small = await scaled(reference, Math.min(1, WORK / Math.max(width, height)));
    return new Aligner(small, { width, height }, settings);
  }

  /** What is stored of the reference; see `alignerOf`. */
  arrays(): Arrays {
    const { data, width, height } = this.small;
    return {
      reference: { data, shape: [height, width, 3] },
      'reference-size': { data: Int32Array.of(this.size.width, this.size.height), shape: [2] }
    };
  }

  /** A good picture, turned. @throws GoodpartsError `image-align` where its part is not found, or unlike the reference's */
  async learn(picture: Picture): Promise<Picture> {
    const found = await this.find(picture);
    if (!found || found.match < LEAST_MATCH)
      throw notFound(
        found
          ? `The part in this picture is unlike the one in the first picture: they agree by ${found.match.toFixed(2)}, ${LEAST_MATCH} is needed.`
          : 'No part stands out from the background in this picture.'
      );
    return this.turned(picture, found.pose);
  }

  /** How the part in a picture lies, and how well it then agrees with the reference's. */
  async find(picture: Picture): Promise<Found | undefined> {
    const part = findPart(await scaled(picture, this.scale));
    const found = part && this.comparison.pose(part);
    if (!found) return undefined;
    const { angle, x, y } = found.pose;
    return { match: found.match, pose: { angle, x: full(x, this.scale), y: full(y, this.scale) } };
  }

  /** What is told of how a part lies. */
  alignment({ pose, match }: Found): Alignment {
    const degrees = (pose.angle * 180) / Math.PI;
    const round = (value: number): number => Math.round(value * 100) / 100;
    return {
      angle: round(degrees - 360 * Math.ceil((degrees - 180) / 360)),
      dx: round(pose.x - full(this.part.x, this.scale)),
      dy: round(pose.y - full(this.part.y, this.scale)),
      match: round(match)
    };
  }

  /** The picture as the reference lies, in the frame; what lies beyond its edge is as the edge. */
  turned(picture: Picture, { x, y, angle }: Pose): Picture {
    const { width, height, middle, tilt } = this.frame;
    const data = new Uint8Array(width * height * 3);
    const [cos, sin] = [Math.cos(angle + tilt), Math.sin(angle + tilt)];
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

  /** The map of a turned picture in the geometry of the picture as it was; NaN where that lay beyond the frame. */
  back(map: ScoreMap, { x, y, angle }: Pose, original: { width: number; height: number }): ScoreMap {
    const { middle, tilt, width: frameWidth } = this.frame;
    const inMap = map.width / frameWidth;
    const scale = Math.min(inMap, Math.sqrt(MAX_MAP / (original.width * original.height)));
    const [width, height] = [original.width, original.height].map(n => Math.max(1, Math.round(n * scale)));
    const data = new Float32Array(width * height);
    const [cos, sin] = [Math.cos(angle + tilt), Math.sin(angle + tilt)];
    const toMap = (n: number): number => (n + 0.5) * inMap - 0.5;
    for (let v = 0, to = 0; v < height; v++)
      for (let u = 0; u < width; u++) {
        const [dx, dy] = [full(u, scale) - x, full(v, scale) - y];
        data[to++] = at(map, toMap(middle.x + cos * dx + sin * dy), toMap(middle.y - sin * dx + cos * dy), NaN);
      }
    return { data, width, height };
  }
}

/** Versions of before there was alignment have no such setting. */
export const aligns = ({ align }: Pick<Settings, 'align'>): boolean => Boolean(align) && align !== 'none';

/** The aligner of a stored detector. */
export function alignerOf(arrays: Arrays, settings: Settings): Aligner {
  const { data, shape } = arrays.reference;
  const [width, height] = arrays['reference-size'].data as Int32Array;
  return new Aligner({ data: data as Uint8Array, width: shape[1], height: shape[0] }, { width, height }, settings);
}

const isFound = (found: Found | undefined): found is Found => found !== undefined && found.match >= LEAST_MATCH;

const notFound = (message: string): GoodpartsError =>
  new GoodpartsError(
    'image-align',
    `${message} Aligning needs one part a picture, all of it visible, on an even background.`
  );

/** A picture on its way through an AlignedInspector. */
interface Placed<Input> {
  width: number;
  height: number;
  input: Input;
  found: Found | undefined;
}

/** Shows pictures to another inspector turned to the reference, and turns back what that says. */
export class AlignedInspector<Input extends { width: number; height: number }> implements Inspector<Placed<Input>> {
  readonly oneByOne: boolean;

  /** @param calibration tells what good parts score: what cannot be aligned scores more */
  constructor(
    private readonly inner: Inspector<Input>,
    private readonly aligner: Aligner,
    private readonly calibration: Pick<Calibration, 'scores'>
  ) {
    this.oneByOne = inner.oneByOne ?? false;
  }

  async prepare(picture: Picture): Promise<Placed<Input>> {
    const { width, height } = picture;
    const found = await this.aligner.find(picture);
    const input = await this.inner.prepare(isFound(found) ? this.aligner.turned(picture, found.pose) : picture);
    return { width, height, input, found };
  }

  async begin(placed: Placed<Input>[]): Promise<Inspect[]> {
    const inner = await this.inner.begin(placed.map(p => p.input));
    return placed.map((p, i) => async (full, check) => this.inOriginal(await inner[i](full, check), p));
  }

  release(): Promise<void> {
    return this.inner.release();
  }

  private inOriginal(inspected: Inspected, { found, ...size }: Placed<Input>): Inspected {
    const alignment = found ? this.aligner.alignment(found) : { angle: 0, dx: 0, dy: 0, match: 0 };
    if (isFound(found)) {
      const { map } = inspected;
      return { ...inspected, alignment, ...(map && { map: this.aligner.back(map, found.pose, size) }) };
    }
    const least = NOT_FOUND * this.calibration.scores.at(-1)!;
    const why = found
      ? `the part is unlike the reference (match ${alignment.match}, ${LEAST_MATCH} is needed)`
      : 'no part was found';
    return {
      ...inspected,
      score: Math.max(inspected.score, least),
      alignment,
      note: `The picture could not be aligned: ${why}. It was inspected as it lies, and its score is no lower than ${NOT_FOUND} times the highest one of a good part.`
    };
  }
}
