import crypto from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { embedAugmented, type Learned } from './augment';
import { decode, type Picture } from './decode';
import { memberSettings } from './ensemble';
import type { Extractor } from './features';
import { createSearch, MapHead, type SearchHead } from './head';
import { cellCount, pays, PAYS_FROM } from './neighbours';
import { PairDistances } from './pairs';
import { coresetSeconds } from './probe';
import { bankPatches, fitMemory, poolSize } from './pool';
import { randomStream } from './random';
import type { Inspection } from './region';
import { regions } from './regions';
import type { Runtime } from './runtime';
import { calibrationImages } from './sample';
import { selfTestFiles, selfTestPicture } from './selftest';
import { tileCount, tilesOf } from './tiles';
import type { FitPlan, FitSettings, PlanRequest } from './types';
import { hash, writeDurably } from './version';
import { RowFile } from './workfile';

/** Numbers of a bank that is searched for the measurement; a larger one takes longer in proportion, but for what does not grow with it. */
const MEASURED_BANK = { numbers: 8e6, least: 4096 };
/** Milliseconds that one kind of work is repeated for, and how often at the least. */
const REPEAT = { ms: 250, least: 3 };
/**
 * What work takes in a fit or a score, where it comes in turn with other work, as a share of what the same takes when it is repeated:
 * caches are cold then, and memory is new. Between what fits with small networks and banks take (more) and with large ones (none).
 */
const IN_TURN = { picture: 1.05, calibration: 1.2, score: 1.1 };
/** From here on the cells take over; their search grows with this power of the bank, and making them takes so many searches. */
const CELLS = { power: 0.65, searches: 10, growth: 0.8 };
/** A gathering of a detector's small texts: detector.json without scores, checksums, heads of the arrays; and bytes of one score. */
const TEXTS = { base: 2600, score: 50 };

export const MB = 2 ** 20;
const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1];

async function time(work: () => Promise<unknown> | unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Median milliseconds of some work, after a first time that does not count. */
export async function usual(work: () => Promise<unknown>): Promise<number> {
  await work();
  const times: number[] = [];
  const end = performance.now() + REPEAT.ms;
  while (times.length < REPEAT.least || (performance.now() < end && times.length < 31)) times.push(await time(work));
  return median(times);
}

/** A drawn picture of a size, as a camera would send it. */
export function drawn({ width, height }: { width: number; height: number }): Promise<Buffer> {
  const { data, ...size } = selfTestPicture();
  return sharp(data, { raw: { ...size, channels: 3 } })
    .resize(width, height, { fit: 'fill' })
    .jpeg({ quality: 90 })
    .toBuffer();
}

/**
 * Predicts a fit and its detector from some seconds of measurement on this machine: pictures through the network, a search in random
 * patches, a small coreset, a file. Meant for a process of its own, as the memory is that of the whole process. Writes
 * only into the system's temporary folder. Beyond `memoryLimit` the time is a rough estimate (how much is new in the pictures decides).
 * @param extractors one; with a second backbone two, for which everything is measured, and added
 */
export async function planFit(
  runtime: Runtime,
  extractors: Extractor[],
  settings: Required<FitSettings>,
  { images, picture = { width: 1024, height: 1024 } }: PlanRequest,
  inspection?: Inspection
): Promise<FitPlan> {
  const bytes = picture instanceof Uint8Array ? picture : await drawn(picture);
  const decoded = await usual(() => decode(bytes));
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'goodparts-plan-'));
  try {
    const shown = await decode(bytes);
    const subjects: Subject[] = [];
    for (const [i, bankSettings] of memberSettings(settings).entries()) {
      const own = await fs.mkdtemp(path.join(folder, 'bank-'));
      const one = await measurePicture(extractors[i], shown, bankSettings, own, inspection);
      subjects.push({ one, settings: bankSettings, images, folder: own, input: extractors[i].size });
    }
    // before anything else is measured, which a fit does not hold at once
    const { memory, disk } = fitMemory(subjects.map(sizeOf), process.memoryUsage().rss);
    const banks: BankPlan[] = [];
    for (const subject of subjects) banks.push(await planBank(runtime, subject));
    return { ...together(banks, decoded), peakMemoryMb: memory / MB, diskMb: disk / MB };
  } finally {
    await fs.rm(folder, { recursive: true, force: true });
  }
}

/** One bank's share, before anything is added up. */
type BankPlan = Omit<FitPlan, 'peakMemoryMb' | 'diskMb' | 'fitSeconds'> & {
  fitSeconds: Omit<FitPlan['fitSeconds'], 'total'>;
};

/** What the banks of one fit take, whose pictures are decoded once, in so many milliseconds. */
function together([first, ...others]: BankPlan[], decoded: number): Omit<FitPlan, 'peakMemoryMb' | 'diskMb'> {
  const all = [first, ...others];
  const sum = (of: (plan: BankPlan) => number) => all.reduce((total, plan) => total + of(plan), 0);
  const stages = ['images', 'coreset', 'calibration', 'save'] as const;
  const [learned, coreset, calibration, save] = stages.map(stage => sum(({ fitSeconds }) => fitSeconds[stage]));
  const images = learned + (IN_TURN.picture * first.images * decoded) / 1000;
  return {
    ...first,
    patches: sum(plan => plan.patches),
    bankSize: sum(plan => plan.bankSize),
    fitSeconds: { images, coreset, calibration, save, total: images + coreset + calibration + save },
    detectorMb: sum(plan => plan.detectorMb),
    scoreMs: IN_TURN.score * decoded + sum(plan => plan.scoreMs)
  };
}

/** A bank to be planned, and what was measured of its picture. */
interface Subject {
  one: Measured;
  settings: Required<FitSettings>;
  images: number;
  folder: string;
  input: Extractor['size'];
}

function sizeOf({ one, settings, images }: Subject) {
  const { dimensions } = one.embeddings;
  return { ...settings, images, dimensions, patchesPerTile: one.patches, patchesPerImage: one.tiles * one.patches };
}

/** One bank's share of a fit, without the decoding. */
async function planBank(runtime: Runtime, subject: Subject): Promise<BankPlan> {
  const { one, settings, images, folder, input } = subject;
  const size = sizeOf(subject);
  const { tiles } = one;
  const { dimensions } = size;
  const patches = images * size.patchesPerImage;
  const bankSize = bankPatches(size);
  const scored = await measureSearch(runtime, one, bankSize, images, settings);
  const held = Math.min(patches, poolSize(size).most);
  const calibrated = images === 1 ? 12 : Math.min(images, calibrationImages(size.patchesPerImage));
  const detector = detectorBytes(bankSize, dimensions, calibrated, settings, runtime);
  const fitSeconds = {
    images: (IN_TURN.picture * images * one.learned) / 1000,
    coreset: await coresetSeconds(runtime, folder, { held, patches, dimensions, bankSize }),
    calibration: (scored.created + IN_TURN.calibration * calibrated * tiles * scored.calibrated) / 1000,
    save: (one.scored / tiles + scored.search + (await saveMs(folder, detector))) / 1000
  };
  return {
    images,
    tiles: images * tiles,
    patches,
    dimensions,
    bankSize,
    input,
    device: runtime.device,
    fitSeconds,
    detectorMb: detector / MB,
    scoreMs: IN_TURN.score * (one.scored + tiles * scored.search + scored.map)
  };
}

interface Measured {
  /** of the picture itself or a tile of it, of a region those inside */
  embeddings: Learned;
  /** 1: pictures are not cut */
  tiles: number;
  /** that are learned of a tile and its copies */
  patches: number;
  width: number;
  height: number;
  prepared: Awaited<ReturnType<Extractor['prepare']>>;
  /** milliseconds that a decoded picture takes in a fit, with its copies and the working file; and to its patches in a score */
  learned: number;
  scored: number;
  /** milliseconds to read a tile's patches back */
  readBack: number;
}

async function measurePicture(
  extractor: Extractor,
  picture: Picture,
  settings: Required<FitSettings>,
  folder: string,
  inspection?: Inspection
): Promise<Measured> {
  const tiles = tileCount(picture, settings);
  const [tile] = tilesOf(picture, settings);
  const embed = (augment: Required<FitSettings>['augment']) => embedAugmented(extractor, tile, augment, inspection);
  const prepared = await extractor.prepare(tile);
  const embeddings = await embed('none');
  const { dimensions } = embeddings;
  const file = await RowFile.create(folder, dimensions);
  try {
    let patches = 0;
    const learned = await usual(async () => {
      const all = await embed(settings.augment);
      patches = all.patches[0].length / dimensions;
      await file.write(0, all.patches[0]);
    });
    const scored = settings.augment === 'none' ? learned : await usual(() => embed('none'));
    const all = Int32Array.from({ length: embeddings.patches[0].length / dimensions }, (_, i) => i);
    const readBack = await usual(() => file.gather(all));
    const { width, height } = picture;
    return {
      embeddings,
      patches,
      prepared,
      tiles,
      width,
      height,
      learned: tiles * learned,
      scored: tiles * scored,
      readBack
    };
  } finally {
    await file.close();
  }
}

/** Milliseconds: making the search, one search, the map of a score, and one image of the calibration. */
async function measureSearch(
  runtime: Runtime,
  { embeddings, prepared, width, height, readBack }: Measured,
  bankSize: number,
  images: number,
  settings: Required<FitSettings>
) {
  const { patches, dimensions, inside } = embeddings;
  const most = Math.max(MEASURED_BANK.least, Math.floor(MEASURED_BANK.numbers / dimensions));
  const size = Math.min(bankSize, most);
  const random = randomStream(1);
  const bank = Float32Array.from(
    { length: size * dimensions },
    (_, i) => patches[0][i % patches[0].length] * (0.5 + random())
  );
  const start = performance.now();
  const search = await createSearch(runtime, bank, dimensions, settings);
  const made = performance.now() - start;
  const map = await MapHead.create(runtime);
  const pairs = await PairDistances.create(runtime, dimensions);
  try {
    const { distances } = await search.search(patches[0]);
    const timed = (some: SearchHead) => usual(() => some.search(patches[0]));
    const whole = await timed(search);
    let fixed = 0;
    if (size < bankSize) {
      // half of the bank takes more than half of the time: the rest does not grow with it
      const half = await createSearch(runtime, bank.subarray(0, (size >> 1) * dimensions), dimensions, settings);
      fixed = Math.min(whole, Math.max(0, 2 * (await timed(half).finally(() => half.release())) - whole));
    }
    const count = Math.max(1, Math.min(size, Math.ceil(bankSize / images)));
    const own = Int32Array.from({ length: count }, (_, i) => i);
    const without = await usual(() => search.search(patches[0], own));
    const top = await usual(() => search.search(patches[0].subarray(0, dimensions), own));
    const others = bank.subarray(0, count * dimensions);
    const approach = await usual(() => pairs.approach(patches[0], others, distances.slice()));
    const inInput = await usual(async () => {
      const { data } = await map.inInput(distances, embeddings, settings, inside);
      data.reduce((a, b) => Math.max(a, b), 0);
    });
    const drawnMap = await usual(async () => {
      const size = { width, height };
      const found = await map.inOriginal(distances, embeddings, settings, prepared.window, size, false, inside);
      regions(found.data, found.width, found.height, Infinity, { imageWidth: width, imageHeight: height });
    });
    const cells = pays(bankSize, runtime.device.used);
    const factor = cells ? growth(bankSize, size, CELLS.power) : bankSize / size;
    const inAll = (ms: number): number => fixed + (ms - fixed) * factor;
    const making = cells ? inAll(whole) * CELLS.searches * (bankSize / 1e5) ** CELLS.growth : made * factor;
    return {
      created: making,
      search: inAll(whole),
      map: drawnMap,
      // where another patch decides than before, it is searched again
      calibrated: inAll(without) + top * factor + 2 * readBack + approach + inInput
    };
  } finally {
    await Promise.all([search, map, pairs].map(part => part.release()));
  }
}

/** How much longer than in `size` patches a search takes in a bank with cells. */
const growth = (bankSize: number, size: number, power: number): number =>
  (PAYS_FROM / size) * (bankSize / PAYS_FROM) ** power;

/** Milliseconds to check and write so many bytes, from 4 MB. */
async function saveMs(folder: string, bytes: number): Promise<number> {
  const some = crypto.randomBytes(4 * MB);
  const took = await time(async () => {
    hash(some);
    await writeDurably(path.join(folder, 'some'), some);
  });
  return took * (bytes / some.length);
}

/** Size of a version in the store. */
function detectorBytes(
  bankSize: number,
  dimensions: number,
  scores: number,
  settings: Required<FitSettings>,
  runtime: Runtime
): number {
  const index = pays(bankSize, runtime.device.used) ? 4 * (cellCount(bankSize) * dimensions + bankSize) : 0;
  const bank = 4 * bankSize * (dimensions + 1);
  return bank + index + selfTestFiles(dimensions, settings) + TEXTS.base + TEXTS.score * scores;
}
