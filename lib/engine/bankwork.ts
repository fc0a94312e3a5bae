import { embedAugmented, type Learned } from './augment';
import type { Picture } from './decode';
import type { Extractor } from './features';
import { createSearch, MapHead, type SearchHead } from './head';
import { pays, PAYS_FROM } from './neighbours';
import { PairDistances } from './pairs';
import { randomStream } from './random';
import type { Inspection } from './region';
import { regions } from './regions';
import type { Runtime } from './runtime';
import { tileCount, tilesOf } from './tiles';
import { time, type Timed, type Turns } from './turns';
import type { FitSettings } from './types';
import { RowFile } from './workfile';

/** Numbers of a bank that is searched for the measurement; a larger one takes longer in proportion, but for what does not grow with it. */
const MEASURED_BANK = { numbers: 8e6, least: 4096 };
/** Pictures before a process has the memory that it keeps. */
const FIRST_PICTURES = 4;
/** From here on the cells take over; their search grows with this power of the bank, and making them takes so many searches. */
const CELLS = { power: 0.65, searches: 10, growth: 0.8 };

/** A decoded picture, or a tile of it, on its way to patches: in a fit, in a score, and read back in the calibration. */
export interface PictureWork {
  embeddings: Learned;
  /** 1: pictures are not cut */
  tiles: number;
  /** that are learned of a tile and its copies */
  patches: number;
  picture: Picture;
  prepared: Awaited<ReturnType<Extractor['prepare']>>;
  /** a tile with its copies and the working file; a tile in a score; a tile's patches from the file */
  learned: Timed;
  scored: Timed;
  readBack: Timed;
  release(): Promise<void>;
}

export async function pictureWork(
  turns: Turns,
  extractor: Extractor,
  picture: Picture,
  settings: Required<FitSettings>,
  folder: string,
  inspection?: Inspection
): Promise<PictureWork> {
  const [tile] = tilesOf(picture, settings);
  const embed = (augment: Required<FitSettings>['augment']) => embedAugmented(extractor, tile, augment, inspection);
  const embeddings = await embed('none');
  const { dimensions } = embeddings;
  const rows = Int32Array.from({ length: embeddings.patches[0].length / dimensions }, (_, i) => i);
  const file = await RowFile.create(folder, dimensions);
  let patches = 0;
  const learn = async () => {
    const all = await embed(settings.augment);
    patches = all.patches[0].length / dimensions;
    await file.write(0, all.patches[0]);
  };
  for (let i = 0; i < FIRST_PICTURES; i++) await learn();
  const learned = turns.add(learn);
  return {
    embeddings,
    tiles: tileCount(picture, settings),
    patches,
    picture,
    prepared: await extractor.prepare(tile),
    learned,
    scored: settings.augment === 'none' ? learned : turns.add(() => embed('none')),
    readBack: turns.add(() => file.gather(rows)),
    release: () => file.close()
  };
}

export interface SearchSize {
  bankSize: number;
  images: number;
  settings: Required<FitSettings>;
}

/** Searches in a bank of a size, from times in a bank of drawn patches, which may be smaller. */
export interface SearchWork {
  /** milliseconds, once everything is timed */
  made(): number;
  search(): number;
  map(): number;
  /** of one tile in the calibration */
  calibrated(): number;
  release(): Promise<void>;
}

export async function searchWork(
  turns: Turns,
  runtime: Runtime,
  { embeddings, prepared, picture: { width, height }, readBack }: PictureWork,
  { bankSize, images, settings }: SearchSize
): Promise<SearchWork> {
  const { patches, dimensions, inside } = embeddings;
  const most = Math.max(MEASURED_BANK.least, Math.floor(MEASURED_BANK.numbers / dimensions));
  const size = Math.min(bankSize, most);
  const bank = drawnBank(patches[0], size * dimensions);
  let search!: SearchHead;
  const made = await time(async () => (search = await createSearch(runtime, bank, dimensions, settings)));
  // half of the bank takes more than half of the time: the rest does not grow with it
  const part = bank.subarray(0, (size >> 1) * dimensions);
  const smaller = size < bankSize ? await createSearch(runtime, part, dimensions, settings) : undefined;
  const map = await MapHead.create(runtime);
  const pairs = await PairDistances.create(runtime, dimensions);
  const { distances } = await search.search(patches[0]);

  const count = Math.max(1, Math.min(size, Math.ceil(bankSize / images)));
  const own = Int32Array.from({ length: count }, (_, i) => i);
  const whole = turns.add(() => search.search(patches[0]));
  const half = smaller && turns.add(() => smaller.search(patches[0]));
  const without = turns.add(() => search.search(patches[0], own));
  const top = turns.add(() => search.search(patches[0].subarray(0, dimensions), own));
  const others = bank.subarray(0, count * dimensions);
  const approach = turns.add(() => pairs.approach(patches[0], others, distances.slice()));
  const inInput = turns.add(async () => {
    const { data } = await map.inInput(distances, embeddings, settings, inside);
    data.reduce((a, b) => Math.max(a, b), 0);
  });
  const inOriginal = turns.add(async () => {
    const original = { width, height };
    const found = await map.inOriginal(distances, embeddings, settings, prepared.window, original, false, inside);
    regions(found.data, found.width, found.height, Infinity, { imageWidth: width, imageHeight: height });
  });

  const cells = pays(bankSize, runtime.device.used);
  const factor = cells ? growth(bankSize, size) : bankSize / size;
  const inAll = (timed: Timed, of: 'mean' | 'median'): number => {
    const fixed = half ? Math.min(whole[of], Math.max(0, 2 * half[of] - whole[of])) : 0;
    return fixed + (timed[of] - fixed) * factor;
  };
  return {
    made: () => (cells ? inAll(whole, 'mean') * CELLS.searches * (bankSize / 1e5) ** CELLS.growth : made * factor),
    search: () => inAll(whole, 'median'),
    map: () => inOriginal.median,
    // where another patch decides than before, it is searched again
    calibrated: () => inAll(without, 'mean') + top.mean * factor + 2 * readBack.mean + approach.mean + inInput.mean,
    release: async () => {
      await Promise.all([search, smaller, map, pairs].map(one => one?.release()));
    }
  };
}

/** So many numbers, like those of some patches and yet none twice. */
function drawnBank(patches: Float32Array, length: number): Float32Array {
  const random = randomStream(1);
  return Float32Array.from({ length }, (_, i) => patches[i % patches.length] * (0.5 + random()));
}

/** How much longer than in `size` patches a search takes in a bank with cells. */
const growth = (bankSize: number, size: number): number => (PAYS_FROM / size) * (bankSize / PAYS_FROM) ** CELLS.power;
