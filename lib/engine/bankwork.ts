import fs from 'node:fs/promises';
import path from 'node:path';
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
import type { Timed, Turns } from './turns';
import type { FitSettings } from './types';
import { RowFile } from './workfile';

/** Numbers of a bank that is searched for the measurement; a larger one takes longer in proportion, but for what does not grow with it. */
const MEASURED_BANK = { numbers: 8e6, least: 4096 };
/** Pictures before a process has the memory that it keeps. */
const FIRST_PICTURES = 2;
/** From here on the cells take over; their search grows with this power of the bank, and making them takes so many searches. */
const CELLS = { power: 0.65, searches: 10, growth: 0.8 };

/** Where something is measured. */
export interface Measuring {
  runtime: Runtime;
  turns: Turns;
  /** for working files */
  folder: string;
  /** done when all is measured, or failed */
  atEnd(release: () => Promise<void>): void;
}

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
}

export async function pictureWork(
  { turns, folder, atEnd }: Measuring,
  extractor: Extractor,
  picture: Picture,
  settings: Required<FitSettings>,
  inspection?: Inspection
): Promise<PictureWork> {
  const [tile] = tilesOf(picture, settings);
  const embed = (augment: Required<FitSettings>['augment']) => embedAugmented(extractor, tile, augment, inspection);
  const embeddings = await embed('none');
  const { dimensions } = embeddings;
  const rows = Int32Array.from({ length: embeddings.patches[0].length / dimensions }, (_, i) => i);
  const file = await RowFile.create(await fs.mkdtemp(path.join(folder, 'bank-')), dimensions);
  atEnd(() => file.close());
  const learn = async (): Promise<number> => {
    const { patches } = await embed(settings.augment);
    await file.write(0, patches[0]);
    return patches[0].length / dimensions;
  };
  for (let i = 1; i < FIRST_PICTURES; i++) await learn();
  const patches = await learn();
  const learned = turns.add(learn);
  return {
    embeddings,
    tiles: tileCount(picture, settings),
    patches,
    picture,
    prepared: await extractor.prepare(tile),
    learned,
    scored: settings.augment === 'none' ? learned : turns.add(() => embed('none')),
    readBack: turns.add(() => file.gather(rows))
  };
}

export interface SearchSize {
  bankSize: number;
  images: number;
  settings: Required<FitSettings>;
}

/** Searches in a bank of a size, in milliseconds, once everything is timed. */
export interface SearchWork {
  /** to make the search of the whole bank */
  made(): number;
  search(): number;
  map(): number;
  /** of one tile in the calibration */
  calibrated(): number;
}

/** Times searches in a bank of drawn patches, which may be smaller than the one that is meant. */
export async function searchWork(
  { runtime, turns, atEnd }: Measuring,
  { embeddings, prepared, picture: { width, height }, readBack }: PictureWork,
  { bankSize, images, settings }: SearchSize
): Promise<SearchWork> {
  const { dimensions, inside } = embeddings;
  const [patches] = embeddings.patches;
  const kept = <R extends { release(): Promise<void> }>(one: R): R => (atEnd(() => one.release()), one);
  const searchIn = async (bank: Float32Array): Promise<SearchHead> =>
    kept(await createSearch(runtime, bank, dimensions, settings));

  const size = Math.min(bankSize, Math.max(MEASURED_BANK.least, Math.floor(MEASURED_BANK.numbers / dimensions)));
  const bank = drawnBank(patches, size * dimensions);
  const start = performance.now();
  const search = await searchIn(bank);
  const made = performance.now() - start;
  const whole = turns.add(() => search.search(patches));
  // half of the bank takes more than half of the time: the rest does not grow with it
  const halfBank = size < bankSize ? await searchIn(bank.subarray(0, (size >> 1) * dimensions)) : undefined;
  const half = halfBank && turns.add(() => halfBank.search(patches));

  const ownCount = Math.max(1, Math.min(size, Math.ceil(bankSize / images)));
  const own = Int32Array.from({ length: ownCount }, (_, i) => i);
  const understudies = bank.subarray(0, ownCount * dimensions);
  const without = turns.add(() => search.search(patches, own));
  const topPatch = turns.add(() => search.search(patches.subarray(0, dimensions), own));
  const { distances } = await search.search(patches);
  const pairs = kept(await PairDistances.create(runtime, dimensions));
  const approach = turns.add(() => pairs.approach(patches, understudies, distances.slice()));

  const map = kept(await MapHead.create(runtime));
  const mapInInput = turns.add(async () => {
    const { data } = await map.inInput(distances, embeddings, settings, inside);
    data.reduce((a, b) => Math.max(a, b), 0);
  });
  const mapInOriginal = turns.add(async () => {
    const original = { width, height };
    const found = await map.inOriginal(distances, embeddings, settings, prepared.window, original, false, inside);
    regions(found.data, found.width, found.height, Infinity, { imageWidth: width, imageHeight: height });
  });

  const cells = pays(bankSize, runtime.device.used);
  const factor = cells ? growth(bankSize, size) : bankSize / size;
  const inWholeBank = (ms: number): number => {
    const fixed = half ? Math.min(whole.median, Math.max(0, 2 * half.median - whole.median)) : 0;
    return fixed + Math.max(0, ms - fixed) * factor;
  };
  return {
    made: () => (cells ? inWholeBank(whole.mean) * CELLS.searches * (bankSize / 1e5) ** CELLS.growth : made * factor),
    search: () => inWholeBank(whole.median),
    map: () => mapInOriginal.median,
    // where another patch decides than before, it is searched again
    calibrated: () =>
      inWholeBank(without.mean) + topPatch.mean * factor + 2 * readBack.mean + approach.mean + mapInInput.mean
  };
}

/** So many numbers, like those of some patches and yet none twice. */
function drawnBank(patches: Float32Array, length: number): Float32Array {
  const random = randomStream(1);
  const bank = new Float32Array(length);
  for (let i = 0; i < length; i++) bank[i] = patches[i % patches.length] * (0.5 + random());
  return bank;
}

/** How much longer than in `size` patches a search takes in a bank with cells. */
const growth = (bankSize: number, size: number): number => (PAYS_FROM / size) * (bankSize / PAYS_FROM) ** CELLS.power;
