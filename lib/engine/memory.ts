import os from 'node:os';
import { COPIES } from './augment';
import { halfOf } from './ensemble';
import { GoodpartsError } from './errors';
import type { Extractor } from './features';
import { fitMemory, type FitSize } from './pool';
import type { Inspection } from './region';
import type { FitSettings } from './types';

const MB = 2 ** 20;
/** Share of the memory that can be had which a fit may take unless said otherwise: the rest is the system's and the flow's. */
const SHARE = 0.75;
/** What decoding and the network's first pictures add to what the process has then, bytes; measured with pictures of 0.25 to 1 megapixel. */
const PICTURES = 60 * MB;
/** MB below which a smaller memory limit makes a coreset too coarse: rather the bank is made smaller. */
const LEAST_LIMIT = 16;

/**
 * MB that a fit's process may take: what was set, else three quarters of what this process has and what is free, or of the
 * container's limit where that is less.
 */
export function memoryRoom(set?: number): number {
  if (set) return set;
  const machine = os.freemem() + process.memoryUsage().rss;
  // 0: unknown; without a limit it is a number beyond all memory
  const container = process.constrainedMemory() || Infinity;
  return Math.floor((SHARE * Math.min(machine, container)) / MB);
}

export interface FitBound extends FitSize {
  memoryLimit: number;
  coresetRatio: number;
  /** pictures that have been learned already: the fit can end with them */
  learned?: number;
  /** what the second backbone sees; the rest is the same for both */
  second?: Pick<FitSize, 'dimensions' | 'patchesPerImage'>;
  /** bytes that the process has with its networks; see `fitMemory` */
  base?: number;
}

/** MB */
function needed({ second, base, ...size }: FitBound): number {
  const half = { ...size, memoryLimit: halfOf(size.memoryLimit) };
  const banks = second ? [half, { ...half, ...second }] : [size];
  return Math.ceil(fitMemory(banks, base).memory / MB);
}

/** Called with the images that are learned, and their tiles, before the next one. @throws GoodpartsError `fit-memory` */
export type MemoryCheck = (learned: number, tiles: number) => void;

/**
 * What decides how much memory a fit needs, from the networks themselves: an empty picture goes through. A tile counts as an image.
 * @param extractors one; with a second backbone, two
 */
export async function fitBound(
  extractors: Extractor[],
  settings: Required<FitSettings>,
  images?: number,
  inspection?: Inspection
): Promise<FitBound> {
  const [first, second] = await Promise.all(extractors.map(extractor => patchesOf(extractor, settings, inspection)));
  return { ...settings, images, ...first, second, base: process.memoryUsage().rss + PICTURES };
}

async function patchesOf(
  extractor: Extractor,
  settings: Required<FitSettings>,
  inspection?: Inspection
): Promise<Pick<FitSize, 'dimensions' | 'patchesPerImage'>> {
  const { width, height } = extractor.size;
  const { dimensions, ...grid } = await extractor.embed([new Float32Array(3 * width * height)]);
  const whole = grid.rows * grid.columns * COPIES[settings.augment];
  // which patches a crop leaves of a region is known with the first picture only
  const patchesPerImage = inspection ? Math.max(1, await inspection.count(extractor.size, settings, grid)) : whole;
  return { dimensions, patchesPerImage };
}

/**
 * Refuses what would need more than `maxMemory` MB: at the start, where all that may come is known (the number of images, or a bound of
 * the bank); else image by image, as the bank grows with them.
 */
export async function memoryCheck(
  extractors: Extractor[],
  settings: Required<FitSettings>,
  maxMemory?: number,
  images?: number,
  inspection?: Inspection
): Promise<MemoryCheck> {
  const room = memoryRoom(maxMemory);
  const bound = await fitBound(extractors, settings, images, inspection);
  // nobody knows yet how many tiles the images have
  const known = (images !== undefined && !settings.tile) || settings.bankSize > 0;
  return (learned, tiles) => {
    if (known && learned) return;
    const most = { ...bound, ...(settings.tile && { images: undefined }) };
    const refused = refusalOf(known ? most : { ...bound, images: tiles + 1, learned }, room);
    if (refused) throw refused;
  };
}

/** Why a fit would be refused: what it needs, what there is, and what would fit. */
export function refusalOf(size: FitBound, room: number): GoodpartsError | undefined {
  const need = needed(size);
  if (need <= room) return undefined;
  const fitting = fittingSettings(size, room);
  const advice = fitting
    ? `set ${Object.entries(fitting)
        .map(([key, value]) => `${key} to ${value}`)
        .join(' and ')}`
    : `free ${Math.ceil(needed({ ...size, ...smallest(size) }) - room)} MB, or take a smaller input size or backbone`;
  const what = size.learned
    ? `With one more picture than ${size.learned} this fit would need`
    : `This fit would need ${size.images === undefined ? 'up to ' : ''}`.trimEnd();
  const end = size.learned ? ', or complete it with the pictures that it has' : '';
  return new GoodpartsError(
    'fit-memory',
    `${what} ${need} MB of memory, and ${room} MB is the most that it may take: ${advice}${end}.`,
    { needed: need, room, ...fitting }
  );
}

const smallest = ({ memoryLimit }: FitBound) => ({ memoryLimit: Math.min(memoryLimit, LEAST_LIMIT), bankSize: 1 });

type Fitting = { memoryLimit?: number; bankSize?: number };

/** The largest settings that fit: less memory for the patches, if that is enough; else a smaller bank as well. */
function fittingSettings(size: FitBound, room: number): Fitting | undefined {
  const fits = (change: Fitting): boolean => needed({ ...size, ...change }) <= room;
  const least = Math.min(size.memoryLimit, LEAST_LIMIT);
  const memoryLimit = largest(least, size.memoryLimit, n => fits({ memoryLimit: n }));
  if (memoryLimit) return { memoryLimit };
  // what there would be without a bound is more than any number of patches that fits
  const bankSize = largest(1, size.bankSize || 2 ** 24, n => fits({ bankSize: n, memoryLimit: least }));
  return bankSize ? { memoryLimit: least, bankSize } : undefined;
}

/** The largest whole number from `low` to `high` that is fine, where all below one that is fine are; 0: none. */
function largest(low: number, high: number, fine: (n: number) => boolean): number {
  if (!fine(low)) return 0;
  let [known, beyond] = [low, high + 1];
  while (beyond - known > 1) {
    const middle = Math.floor((known + beyond) / 2);
    if (fine(middle)) known = middle;
    else beyond = middle;
  }
  return known;
}
