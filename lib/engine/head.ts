import {
  axisMatrix,
  inspected,
  mapGraph,
  Matrix,
  multiply,
  Placement,
  placeMatrix,
  transpose,
  type Band
} from './graphs/map';
import type { Window } from './graphs/preprocess';
import { coarseBank } from './coarse';
import { LEFT_OUT, type Rating } from './graphs/rank';
import { searchGraph } from './graphs/search';
import { LargeSearch } from './large';
import { pays } from './neighbours';
import { squaredLengths } from './pairs';
import { PRESETS } from './presets';
import type { Axis } from './polygons';
import { spread, type Inside } from './region';
import type { Data, Runtime, Session } from './runtime';
import type { FitSettings } from './types';
import type { Arrays } from './version';

/** The largest anomaly map that is made, pixels; a larger picture's map has its aspect, at a smaller scale. */
export const MAX_MAP = 4e6;

/** Matrices of maps that are kept, one an axis, picture size and tile. */
const KEPT_AXES = 256;

/** Patches of a bank in which the float filter takes no longer than a millisecond or two. */
const SMALL = 1024;

export interface Distances {
  /** nearest-neighbour distance of each patch, [P] */
  distances: Float32Array;
  /** index of that nearest bank patch, [P] */
  nearest: Float32Array;
  score: number;
}

/** Patch embeddings to distances and image score: the memory bank on the device. One a detector. */
export interface SearchHead {
  /** Searches the whole bank, or the bank without some of its patches. */
  search(patches: Float32Array, leftOut?: Int32Array): Promise<Distances>;
  /** what is stored with the bank, so that the next one is made faster */
  arrays(): Arrays;
  release(): Promise<void>;
}

/**
 * The search that suits the bank's size and the device.
 * @param bank [M, D]; kept, not copied, on the CPU
 * @param arrays what an earlier search of this bank stored
 */
export function createSearch(
  runtime: Runtime,
  bank: Float32Array,
  dimensions: number,
  settings: Required<FitSettings>,
  arrays?: Arrays
): Promise<SearchHead> {
  const rating = ratingOf(settings);
  return pays(bank.length / dimensions, runtime.device.used)
    ? LargeSearch.create(runtime, bank, dimensions, rating, arrays)
    : WholeSearch.create(runtime, bank, dimensions, rating);
}

/** How a detector of these settings measures patches and scores an image. */
export function ratingOf({ preset, reweight, neighbours }: Required<FitSettings>): Rating {
  const { distance, score } = PRESETS[preset];
  return { neighbours: reweight ? neighbours : 0, distance, score };
}

/** Compares every patch with the whole bank. */
export class WholeSearch implements SearchHead {
  private constructor(
    private readonly session: Session,
    /** what every search is given: the norms, and the bank where it is not part of the graph */
    private readonly feeds: Record<string, Data>,
    private readonly dimensions: number
  ) {}

  static async create(runtime: Runtime, bank: Float32Array, dimensions: number, rating: Rating): Promise<WholeSearch> {
    const size = bank.length / dimensions;
    const coarse = worthFiltering(runtime, size) ? await coarseBank(runtime, bank, dimensions) : undefined;
    const session = await runtime.session(searchGraph({ ...rating, bank, dimensions, coarse }));
    const norms = { data: coarse?.norms ?? squaredLengths(bank, dimensions), dims: [size] };
    const rows = { data: bank, dims: [size, dimensions] };
    return new WholeSearch(session, coarse ? { norms, bank: rows } : { norms }, dimensions);
  }

  async search(patches: Float32Array, leftOut?: Int32Array): Promise<Distances> {
    const { distances, nearest, score } = await this.session.run({
      ...this.feeds,
      ...(leftOut?.length && { norms: this.without(leftOut) }),
      patches: { data: patches, dims: [patches.length / this.dimensions, this.dimensions] }
    });
    return { distances: distances.data, nearest: nearest.data, score: score.data[0] };
  }

  arrays(): Arrays {
    return {};
  }

  release(): Promise<void> {
    return this.session.release();
  }

  private without(leftOut: Int32Array): Data {
    const { data, dims } = this.feeds.norms;
    const norms = data.slice();
    leftOut.forEach(i => (norms[i] = LEFT_OUT));
    return { data: norms, dims };
  }
}

/** Other devices multiply floats faster, and want the bank in their own memory; for a small bank there is nothing to win. */
function worthFiltering(runtime: Runtime, size: number): boolean {
  return runtime.device.used === 'cpu' && size > SMALL;
}

/**
 * The map's size for a picture; `full`: its own, else as many pixels as the network was given: the map is blurred over more than one of
 * them, so there is nothing to see in between.
 */
export function mapSize(
  { width, height }: { width: number; height: number },
  { inputWidth, inputHeight }: { inputWidth: number; inputHeight: number },
  full: boolean
): { width: number; height: number } {
  const most = full ? MAX_MAP : Math.min(MAX_MAP, inputWidth * inputHeight);
  const scale = Math.min(1, Math.sqrt(most / (width * height)));
  const [w, h] = [width, height].map(n => Math.max(1, Math.round(n * scale)));
  return { width: w, height: h };
}

export interface ScoreMap {
  data: Float32Array;
  width: number;
  height: number;
}

/** What decides how a grid becomes a map. */
export type MapSettings = Pick<Required<FitSettings>, 'preset' | 'inputWidth' | 'inputHeight' | 'smoothing'>;

/** The part of a blurred pixel that must come from inspected patches for it to have a value: beyond lies next to nothing of any. */
const LEAST_WEIGHT = 0.01;
/** Weights of maps that are kept: of the pictures of one camera. */
const MOST_WEIGHTS = 2;
const WHOLE = { from: 0, to: 1 };

interface Drawn {
  grid: { rows: number; columns: number };
  settings: MapSettings;
  down: Placement;
  across: Placement;
}

/** Patch distances to anomaly maps, in the network input's geometry or the original picture's. */
export class MapHead {
  private readonly axes = new Map<string, Data>();
  private readonly weights = new Map<string, Float32Array>();

  private constructor(private readonly session: Session) {}

  static async create(runtime: Runtime): Promise<MapHead> {
    return new MapHead(await runtime.session(mapGraph()));
  }

  /**
   * The map at the network input's size.
   * @param distances of all patches, or of those inside
   */
  async inInput(
    distances: Float32Array,
    grid: { rows: number; columns: number },
    settings: MapSettings,
    inside?: Inside
  ): Promise<ScoreMap> {
    const { inputWidth: width, inputHeight: height } = settings;
    const along = (size: number): Placement => ({ size, resized: size, offset: 0, input: size });
    const drawn = { grid, settings, down: along(height), across: along(width) };
    return { data: await this.draw(distances, drawn, inside, inside?.across, inside?.down), width, height };
  }

  /**
   * The map of a picture of `width` x `height`, unless `full` a small one; what lies beside a centre crop or not inside was not inspected
   * and is NaN.
   */
  async inOriginal(
    distances: Float32Array,
    grid: { rows: number; columns: number },
    settings: MapSettings,
    window: Window,
    { width, height }: { width: number; height: number },
    full = true,
    inside?: Inside
  ): Promise<ScoreMap> {
    const { width: w, height: h } = mapSize({ width, height }, settings, full);
    const down = { size: h, resized: window.resizedHeight, offset: window.top, input: settings.inputHeight };
    const across = { size: w, resized: window.resizedWidth, offset: window.left, input: settings.inputWidth };
    const data = await this.draw(distances, { grid, settings, down, across }, inside);
    blankOutside(data, w, inspected(across), inspected(down));
    return { data, width: w, height: h };
  }

  /** @param x, y what the map's sides span of the picture, for the region */
  private async draw(
    distances: Float32Array,
    drawn: Drawn,
    inside?: Inside,
    x: Omit<Axis, 'count'> = WHOLE,
    y: Omit<Axis, 'count'> = WHOLE
  ): Promise<Float32Array> {
    if (!inside) return this.run(distances, drawn);
    const { grid, down, across } = drawn;
    const map = await this.run(spread(distances, grid.rows * grid.columns, inside), drawn);
    const pixels = () => inside.pixels({ ...x, count: across.size }, { ...y, count: down.size });
    const weights = await this.weightsOf(drawn, inside, pixels);
    for (let i = 0; i < map.length; i++) map[i] *= weights[i];
    return map;
  }

  /**
   * What each pixel is multiplied with so that it is the mean of the inspected patches around it, and no other dilutes it: what lies at
   * the edge of the region counts as much as in its middle. NaN where nothing is inspected.
   */
  private async weightsOf(drawn: Drawn, inside: Inside, pixels: () => Uint8Array): Promise<Float32Array> {
    const { grid, settings, down, across } = drawn;
    const key = JSON.stringify([settings.preset, settings.smoothing, down, across, inside.key]);
    const known = this.weights.get(key);
    if (known) return known;
    const ones = new Float32Array(inside.patches.length).fill(1);
    const parts = await this.run(spread(ones, grid.rows * grid.columns, inside), drawn);
    const seen = pixels();
    const made = parts.map((part, i) => (seen[i] && part > LEAST_WEIGHT ? 1 / part : NaN));
    const [oldest] = this.weights.keys();
    if (this.weights.size >= MOST_WEIGHTS) this.weights.delete(oldest);
    this.weights.set(key, made);
    return made;
  }

  private async run(values: Float32Array, { grid, settings, down, across }: Drawn): Promise<Float32Array> {
    const { map } = await this.session.run({
      grid: { data: values, dims: [grid.rows, grid.columns] },
      rows: this.axis(settings, grid.rows, down, false),
      columns: this.axis(settings, grid.columns, across, true)
    });
    return map.data;
  }

  /** Adds what a tile shows to the map of its picture. */
  async addTile(
    whole: ScoreMap,
    distances: Float32Array,
    { rows, columns }: { rows: number; columns: number },
    settings: MapSettings,
    down: Band,
    across: Band
  ): Promise<void> {
    const { map } = await this.session.run({
      grid: { data: distances, dims: [rows, columns] },
      rows: this.axis(settings, rows, down.placement, false, down),
      columns: this.axis(settings, columns, across.placement, true, across)
    });
    const [, width] = map.dims;
    for (let y = 0, i = 0; y < map.dims[0]; y++) {
      const to = (down.from + y) * whole.width + across.from;
      for (let x = 0; x < width; x++, i++) whole.data[to + x] += map.data[i];
    }
  }

  /** The matrix of one axis, or the part of it that a tile sees; kept, as pictures of one camera share it. */
  private axis(settings: MapSettings, grid: number, placement: Placement, transposed: boolean, band?: Band): Data {
    const key = JSON.stringify([settings.preset, settings.smoothing, grid, placement, transposed, band?.from]);
    const known = this.axes.get(key);
    if (known) return known;
    const { enlarge, edges } = PRESETS[settings.preset];
    const inInput = axisMatrix(grid, placement.input, { enlarge, sigma: settings.smoothing, edges });
    const placed = multiply(placeMatrix(placement, band), inInput);
    const made = toData(transposed ? transpose(placed) : placed);
    if (this.axes.size >= KEPT_AXES) this.axes.clear();
    this.axes.set(key, made);
    return made;
  }

  release(): Promise<void> {
    return this.session.release();
  }
}

type Range = ReturnType<typeof inspected>;

/** NaN for every pixel outside of the inspected columns and rows. */
function blankOutside(map: Float32Array, width: number, columns: Range, rows: Range): void {
  for (let y = 0; y < map.length / width; y++) {
    const line = map.subarray(y * width, (y + 1) * width);
    if (y < rows.from || y >= rows.to) line.fill(NaN);
    else line.fill(NaN, 0, columns.from).fill(NaN, columns.to);
  }
}

function toData(m: Matrix): Data {
  return { data: Float32Array.from(m.data), dims: [m.rows, m.columns] };
}
