// What of a picture is inspected: polygons and a mask in shares of the picture, down to the patches and pixels that lie inside.
import sharp from 'sharp';
import { augmented } from './augment';
import { decode, type Picture } from './decode';
import { GoodpartsError } from './errors';
import type { Prepared } from './features';
import { windowOf } from './graphs/preprocess';
import { centre, fillPolygon, isRestricted, type Axis } from './polygons';
import type { Size } from './taps';
import type { FitSettings, InspectedRegion } from './types';

/** A cell is sampled at this many places along each side. */
const SAMPLES = 8;
/**
 * Share of a patch's cell that has to lie inside the region for the patch to be inspected. With a background that changes from picture to
 * picture, half of it found all defects of a bottle, any share of it not all; see docs/region.md.
 */
const LEAST_SHARE = 0.5;
/** Longest side of a mask as it is kept with a detector, and of one that is turned with a picture's copies, pixels. */
const MASK_SIDE = 1024;
/** Geometries of pictures that are remembered. */
const KNOWN = 64;

interface Grid {
  rows: number;
  columns: number;
}

/** What of one picture is inspected. */
export interface Inside {
  /** positions in the patch grid, row-major, ascending */
  patches: Int32Array;
  /** cells of which a smaller share lies inside, and the inspected patches beside each, by their index in `patches` */
  edge: { cell: number; beside: number[] }[];
  /** what the network's input spans of the picture */
  across: Omit<Axis, 'count'>;
  down: Omit<Axis, 'count'>;
  /** tells geometries apart */
  key: string;
  /** 1 for each pixel of a raster over the picture whose centre lies inside, row-major */
  pixels(across: Axis, down: Axis): Uint8Array;
}

/** White is inspected: 1; row-major, over the whole picture. */
interface Mask extends Size {
  data: Uint8Array;
}

/** The inspected region of a detector; there is none where everything is inspected. */
export class Inspection {
  private readonly known = new Map<string, Inside>();
  private readonly turned = new Map<string, Promise<Inspection[]>>();

  private constructor(
    /** as it is kept with the detector */
    readonly region: InspectedRegion,
    private readonly mask?: Mask
  ) {}

  /**
   * @returns undefined where everything is inspected
   * @throws GoodpartsError `region-empty`, `image-*` where the mask is no picture
   */
  static async create(region: InspectedRegion | undefined): Promise<Inspection | undefined> {
    if (!isRestricted(region)) return undefined;
    const { include, exclude, mask } = region;
    const read = mask ? await readMask(typeof mask === 'string' ? Buffer.from(mask, 'base64') : mask) : undefined;
    const stored = { include, exclude, ...(read && { mask: await encoded(read) }) };
    const inspection = new Inspection(stored, read);
    const whole = { count: MASK_SIDE / 2, from: 0, to: 1 };
    if (!inspection.pixels(whole, whole).includes(1)) throw emptyRegion();
    return inspection;
  }

  /** What of a picture is inspected, by where the network's input of `input` pixels lies in it; perhaps no patch at all. */
  inside({ window }: Pick<Prepared, 'window'>, input: Size, { rows, columns }: Grid): Inside {
    const across = span(window.left, input.width, window.resizedWidth);
    const down = span(window.top, input.height, window.resizedHeight);
    const key = JSON.stringify([across, down, rows, columns]);
    const known = this.known.get(key);
    if (known) return known;
    const fine = this.pixels({ ...across, count: columns * SAMPLES }, { ...down, count: rows * SAMPLES });
    const made = {
      ...patchesIn(fine, rows, columns),
      across,
      down,
      key,
      pixels: (x: Axis, y: Axis) => this.pixels(x, y)
    };
    if (this.known.size >= KNOWN) this.known.clear();
    this.known.set(key, made);
    return made;
  }

  /** This region for the copies of a picture that are learned as well, which are mirrored or turned; the picture itself first. */
  copies({ width, height }: Size, augment: Required<FitSettings>['augment']): Promise<Inspection[]> {
    const key = `${width} x ${height}, ${augment}`;
    const known = this.turned.get(key);
    if (known) return known;
    const made = this.turn({ width, height }, augment);
    if (this.turned.size >= KNOWN) this.turned.clear();
    this.turned.set(key, made);
    return made;
  }

  /** Patches of a picture and its copies; where its shape matters, of a square one. */
  async count(input: Size, settings: Required<FitSettings>, grid: Grid): Promise<number> {
    const square = { width: MASK_SIDE, height: MASK_SIDE };
    const window = windowOf(square.width, square.height, input, settings.resizeShorter);
    const copies = await this.copies(square, settings.augment);
    return copies.reduce((sum, copy) => sum + copy.inside({ window }, input, grid).patches.length, 0);
  }

  private async turn(size: Size, augment: Required<FitSettings>['augment']): Promise<Inspection[]> {
    if (augment === 'none') return [this];
    const scale = Math.min(1, MASK_SIDE / Math.max(size.width, size.height));
    const [width, height] = [size.width, size.height].map(n => Math.max(1, Math.round(n * scale)));
    const data = this.pixels({ count: width, from: 0, to: 1 }, { count: height, from: 0, to: 1 });
    const [, ...others] = await augmented(grey({ data, width, height }), augment);
    return [this, ...others.map(copy => new Inspection({ include: [], exclude: [] }, white(copy)))];
  }

  /** Inside the mask, inside any polygon to include, if there are such, and in none to exclude. */
  private pixels(across: Axis, down: Axis): Uint8Array {
    const { include, exclude } = this.region;
    const inside = new Uint8Array(across.count * down.count);
    if (!include.length) inside.fill(1);
    for (const polygon of include) fillPolygon(inside, polygon, across, down, 1);
    for (const polygon of exclude) fillPolygon(inside, polygon, across, down, 0);
    if (this.mask) intersect(inside, this.mask, across, down);
    return inside;
  }
}

export function emptyRegion(size?: Size): GoodpartsError {
  const what = size ? `nothing of a picture of ${size.width} x ${size.height} pixels` : 'nothing';
  return new GoodpartsError(
    'region-empty',
    `The region leaves ${what} to inspect: include more of the picture, or exclude less (in a mask, white is inspected).`
  );
}

const span = (start: number, length: number, of: number) => ({ from: start / of, to: (start + length) / of });

/** The inspected ones of a picture's patch embeddings, [n, D]; all of them where there is no region. */
export function inspectedRows(patches: Float32Array, dimensions: number, inside?: Inside): Float32Array {
  if (!inside) return patches;
  const rows = new Float32Array(inside.patches.length * dimensions);
  inside.patches.forEach((p, i) => rows.set(patches.subarray(p * dimensions, (p + 1) * dimensions), i * dimensions));
  return rows;
}

/**
 * Values of the inspected patches in the whole grid of `size` patches, 0 outside. A cell at the edge takes the largest value beside it:
 * those patches have seen what of it lies inside.
 */
export function spread(values: Float32Array, size: number, { patches, edge }: Inside): Float32Array {
  const grid = new Float32Array(size);
  patches.forEach((patch, i) => (grid[patch] = values[i]));
  for (const { cell, beside } of edge) grid[cell] = Math.max(...beside.map(i => values[i]));
  return grid;
}

/** Clears what is black in the mask. */
function intersect(inside: Uint8Array, { data, width, height }: Mask, across: Axis, down: Axis): void {
  const at = (i: number, axis: Axis, size: number) => Math.min(size - 1, Math.floor(centre(i, axis) * size));
  const columns = Int32Array.from({ length: across.count }, (_, i) => at(i, across, width));
  for (let row = 0, i = 0; row < down.count; row++) {
    const line = at(row, down, height) * width;
    for (let column = 0; column < across.count; column++, i++) inside[i] &= data[line + columns[column]];
  }
}

/**
 * The patches that are inspected, by the samples of their cells that lie inside. Where the region is too narrow for half a cell, any
 * share is enough: what is drawn as inspected is inspected.
 */
function patchesIn(samples: Uint8Array, rows: number, columns: number): Pick<Inside, 'patches' | 'edge'> {
  const inside = new Uint16Array(rows * columns);
  const width = columns * SAMPLES;
  for (let i = 0; i < samples.length; i++)
    inside[Math.floor(i / width / SAMPLES) * columns + Math.floor((i % width) / SAMPLES)] += samples[i];
  const met = Array.from(inside.keys()).filter(cell => inside[cell]);
  const isHalf = (cell: number) => inside[cell] >= LEAST_SHARE * SAMPLES ** 2;
  const around = new Map(met.map(cell => [cell, neighbours(cell, rows, columns)]));
  const patches = Int32Array.from(met.filter(cell => isHalf(cell) || !around.get(cell)!.some(isHalf)));
  const index = new Map(Array.from(patches, (cell, i) => [cell, i]));
  const edge = met
    .filter(cell => !index.has(cell))
    .map(cell => ({ cell, beside: around.get(cell)!.flatMap(other => index.get(other) ?? []) }));
  return { patches, edge };
}

/** The up to eight cells around one. */
function neighbours(cell: number, rows: number, columns: number): number[] {
  const [row, column] = [Math.floor(cell / columns), cell % columns];
  const found: number[] = [];
  for (let y = Math.max(0, row - 1); y <= Math.min(rows - 1, row + 1); y++)
    for (let x = Math.max(0, column - 1); x <= Math.min(columns - 1, column + 1); x++)
      if (y !== row || x !== column) found.push(y * columns + x);
  return found;
}

function grey({ data, width, height }: Mask): Picture {
  const rgb = new Uint8Array(3 * data.length);
  data.forEach((inside, i) => rgb.fill(255 * inside, 3 * i, 3 * i + 3));
  return { data: rgb, width, height };
}

const white = ({ data, width, height }: Picture): Mask => ({
  data: Uint8Array.from({ length: width * height }, (_, i) =>
    data[3 * i] + data[3 * i + 1] + data[3 * i + 2] >= 3 * 128 ? 1 : 0
  ),
  width,
  height
});

async function readMask(bytes: Uint8Array): Promise<Mask> {
  try {
    const { data, width, height } = await decode(bytes);
    if (Math.max(width, height) <= MASK_SIDE) return white({ data, width, height });
    const smaller = await sharp(data, { raw: { width, height, channels: 3 } })
      .resize(MASK_SIDE, MASK_SIDE, { fit: 'inside', kernel: 'linear' })
      .raw()
      .toBuffer({ resolveWithObject: true });
    return white({ data: smaller.data, width: smaller.info.width, height: smaller.info.height });
  } catch (error) {
    if (!(error instanceof GoodpartsError)) throw error;
    throw new GoodpartsError(error.code, `The mask of the region: ${error.message}`, error.details);
  }
}

/** A PNG with one bit a pixel, in base64. */
async function encoded(mask: Mask): Promise<string> {
  const { data, width, height } = grey(mask);
  const png = await sharp(data, { raw: { width, height, channels: 3 } })
    .png({ palette: true, colours: 2, compressionLevel: 9 })
    .toBuffer();
  return png.toString('base64');
}
