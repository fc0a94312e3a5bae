import { imageScore, type Scored } from './calibrate';
import type { Picture } from './decode';
import type { Inspect, Inspected, Inspector } from './detector';
import type { Extractor } from './features';
import { inspected, type Band, type Placement } from './graphs/map';
import { mapSize, type MapHead, type ScoreMap, type SearchHead } from './head';
import type { FitSettings } from './types';

type Settings = Required<FitSettings>;
type Size = { width: number; height: number };

/** Tiles that go through the backbone together. */
const BATCH = 4;

/** A picture's tiles: all of one size, row by row. Where a picture is smaller than a tile, the tile reaches beyond it. */
export interface Tiling extends Size {
  /** left edges and upper edges, pixels of the picture */
  columns: number[];
  rows: number[];
}

/** Even steps, so that the last tile ends with the picture; neighbours share at least `overlap` of a tile. */
function starts(size: number, tile: number, overlap: number): number[] {
  if (size <= tile) return [0];
  const steps = Math.ceil((size - tile) / (tile * (1 - overlap)) - 1e-9);
  return Array.from({ length: steps + 1 }, (_, i) => Math.round((i * (size - tile)) / steps));
}

/** How a picture is cut; nothing where tiles are off, as in detectors of versions before them. */
export function tilingOf(picture: Size, settings: Settings): Tiling | undefined {
  const { tile: width, tileOverlap, inputWidth, inputHeight } = settings;
  if (!width) return undefined;
  const height = Math.max(1, Math.round((width * inputHeight) / inputWidth));
  return {
    width,
    height,
    columns: starts(picture.width, width, tileOverlap),
    rows: starts(picture.height, height, tileOverlap)
  };
}

/** Tiles of a picture, 1 where tiles are off. */
export function tileCount(picture: Size, settings: Settings): number {
  const tiling = tilingOf(picture, settings);
  return tiling ? tiling.columns.length * tiling.rows.length : 1;
}

/** The tiles of a picture, one at a time, or the picture itself where tiles are off. */
export function* tilesOf(picture: Picture, settings: Settings): Generator<Picture> {
  const tiling = tilingOf(picture, settings);
  if (!tiling) yield picture;
  else for (const top of tiling.rows) for (const left of tiling.columns) yield cut(picture, left, top, tiling);
}

/** Some pixels of a picture; it is mirrored at its right and lower edge where they reach beyond. */
function cut({ data, width, height }: Picture, left: number, top: number, size: Size): Picture {
  const tile = new Uint8Array(size.width * size.height * 3);
  const across = Math.min(size.width, width - left);
  const mirrored = (i: number, n: number): number => (i % (2 * n) < n ? i % n : n - 1 - (i % n));
  for (let y = 0; y < size.height; y++) {
    const line = mirrored(top + y, height) * width;
    const to = y * size.width;
    tile.set(data.subarray(3 * (line + left), 3 * (line + left + across)), 3 * to);
    for (let x = across; x < size.width; x++) {
      const from = 3 * (line + mirrored(left + x, width));
      tile.set(data.subarray(from, from + 3), 3 * (to + x));
    }
  }
  return { data: tile, ...size };
}

/**
 * The tiles of one axis. A tile counts less towards an edge that it shares with a neighbour, and not at all at the edge itself; the
 * weights of a pixel sum to 1. So the map of all has no seam.
 */
export function bandsOf(edges: number[], tile: number, size: number, pixels: number, input: number): Band[] {
  const scale = input / tile;
  const places = edges.map((edge): Placement => ({ size: pixels, resized: size * scale, offset: edge * scale, input }));
  const ranges = places.map(inspected);
  const weight = (i: number, pixel: number): number => {
    if (pixel < ranges[i].from || pixel >= ranges[i].to) return 0;
    const x = ((pixel + 0.5) * size) / pixels;
    const left = i > 0 ? (x - edges[i]) / (edges[i - 1] + tile - edges[i]) : 1;
    const right = i + 1 < edges.length ? (edges[i] + tile - x) / (edges[i] + tile - edges[i + 1]) : 1;
    // never quite nothing, so that the sum is not either
    return Math.max(1e-6, Math.min(1, left, right));
  };
  return places.map((placement, i) => {
    const { from, to } = ranges[i];
    const weights = Float32Array.from({ length: to - from }, (_, k) => {
      const all = edges.reduce((sum, _edge, j) => sum + weight(j, from + k), 0);
      return weight(i, from + k) / all;
    });
    return { placement, from, weights };
  });
}

export interface TileParts {
  extractor: Extractor;
  search: SearchHead;
  map: MapHead;
  settings: Settings;
}

/** Looks at pictures by their tiles. */
export class TiledInspector implements Inspector {
  readonly oneByOne = true;

  constructor(
    private readonly parts: TileParts,
    readonly release: () => Promise<void>
  ) {}

  async prepare(picture: Picture): Promise<Picture> {
    return picture;
  }

  async begin(pictures: Picture[]): Promise<Inspect[]> {
    return pictures.map(picture => (full, check) => scan(this.parts, picture, full, check));
  }
}

/**
 * Score and map of a picture by its tiles, of which a few are in memory at a time.
 */
async function scan(
  { extractor, search, map, settings }: TileParts,
  picture: Picture,
  full: boolean,
  check: () => void
): Promise<Inspected> {
  const tiling = tilingOf(picture, settings)!;
  const { inputWidth, inputHeight, preset } = settings;
  const virtual = {
    inputWidth: (picture.width * inputWidth) / tiling.width,
    inputHeight: (picture.height * inputHeight) / tiling.height
  };
  const size = mapSize(picture, virtual, full);
  const whole: ScoreMap = { ...size, data: new Float32Array(size.width * size.height) };
  const across = bandsOf(tiling.columns, tiling.width, picture.width, size.width, inputWidth);
  const down = bandsOf(tiling.rows, tiling.height, picture.height, size.height, inputHeight);
  // the map's share is what is left of the time
  const timing = { preprocess: 0, backbone: 0, search: 0 };
  const timed = async <T>(stage: keyof typeof timing, work: Promise<T>): Promise<T> => {
    const start = performance.now();
    const result = await work;
    timing[stage] += performance.now() - start;
    return result;
  };
  const found: Scored[] = [];
  for (const batch of batches(tilesOf(picture, settings), BATCH)) {
    check();
    const inputs: Float32Array[] = [];
    for (const tile of batch) inputs.push((await timed('preprocess', extractor.prepare(tile))).input);
    const embeddings = await timed('backbone', extractor.embed(inputs));
    for (const patches of embeddings.patches) {
      const { distances, score } = await timed('search', search.search(patches));
      const [row, column] = [Math.floor(found.length / across.length), found.length % across.length];
      await map.addTile(whole, distances, embeddings, settings, down[row], across[column]);
      found.push({ distances, score });
    }
  }
  return { score: imageScore(found, preset), map: whole, timing };
}

/** So many at a time. */
function* batches<T>(all: Iterable<T>, count: number): Generator<T[]> {
  let batch: T[] = [];
  for (const one of all) {
    batch.push(one);
    if (batch.length < count) continue;
    yield batch;
    batch = [];
  }
  if (batch.length) yield batch;
}
