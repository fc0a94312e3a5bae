import crypto from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { pictureWork, searchWork, type Measuring, type PictureWork, type SearchWork } from './bankwork';
import { decode } from './decode';
import { memberSettings } from './ensemble';
import type { Extractor } from './features';
import { cellCount, pays } from './neighbours';
import { bankPatches, fitMemory, poolSize } from './pool';
import { coresetProbe, coresetSeconds } from './probe';
import type { Inspection } from './region';
import type { Runtime } from './runtime';
import { calibrationImages } from './sample';
import { selfTestFiles, selfTestPicture } from './selftest';
import { time, Turns, type Timed } from './turns';
import type { FitPlan, FitSettings, PlanRequest } from './types';
import { hash, writeDurably } from './version';

/** How much longer the calibration takes than its parts, measured in turns: it goes through many small arrays, and collects garbage. */
const CALIBRATION = 1.3;
/** How much of the time measured in turns a score takes, as scores follow one another and find caches warm. */
const SCORE = 0.92;
/** A gathering of a detector's small texts: detector.json without scores, checksums, heads of the arrays; and bytes of one score. */
const TEXTS = { base: 2600, score: 50 };

export const MB = 2 ** 20;

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
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'goodparts-plan-'));
  const ends: (() => Promise<void>)[] = [];
  const turns = new Turns();
  const measuring: Measuring = { runtime, turns, folder, atEnd: end => void ends.push(end) };
  try {
    const shown = await decode(bytes);
    const decoded = turns.add(() => decode(bytes));
    const subjects: Subject[] = [];
    for (const [i, bankSettings] of memberSettings(settings).entries()) {
      const one = await pictureWork(measuring, extractors[i], shown, bankSettings, inspection);
      subjects.push({ one, settings: bankSettings, images, input: extractors[i].size });
    }
    // before anything else is measured, which a fit does not hold at once
    const { memory, disk } = fitMemory(subjects.map(sizeOf), process.memoryUsage().rss);
    const searches: SearchWork[] = [];
    for (const subject of subjects) {
      const size = { bankSize: bankPatches(sizeOf(subject)), images, settings: subject.settings };
      searches.push(await searchWork(measuring, subject.one, size));
    }
    const probe = await coresetProbe(measuring);
    await turns.run();
    const writing = (await writeMs(folder)) / 1000;
    const banks = subjects.map((subject, i) => planBank(runtime, subject, searches[i], probe.mean / 1000, writing));
    return { ...together(banks, decoded), peakMemoryMb: memory / MB, diskMb: disk / MB };
  } finally {
    for (const end of ends) await end().catch(() => undefined);
    await fs.rm(folder, { recursive: true, force: true });
  }
}

/** One bank's share, before anything is added up. */
type BankPlan = Omit<FitPlan, 'peakMemoryMb' | 'diskMb' | 'fitSeconds'> & {
  fitSeconds: Omit<FitPlan['fitSeconds'], 'total'>;
};

/** What the banks of one fit take, whose pictures are decoded once. */
function together([first, ...others]: BankPlan[], decoded: Timed): Omit<FitPlan, 'peakMemoryMb' | 'diskMb'> {
  const all = [first, ...others];
  const sum = (of: (plan: BankPlan) => number) => all.reduce((total, plan) => total + of(plan), 0);
  const stages = ['images', 'coreset', 'calibration', 'save'] as const;
  const [learned, coreset, calibration, save] = stages.map(stage => sum(({ fitSeconds }) => fitSeconds[stage]));
  const images = learned + (first.images * decoded.mean) / 1000;
  return {
    ...first,
    patches: sum(plan => plan.patches),
    bankSize: sum(plan => plan.bankSize),
    fitSeconds: { images, coreset, calibration, save, total: images + coreset + calibration + save },
    detectorMb: sum(plan => plan.detectorMb),
    scoreMs: SCORE * (decoded.median + sum(plan => plan.scoreMs))
  };
}

/** A bank to be planned, and the work that its picture makes. */
interface Subject {
  one: PictureWork;
  settings: Required<FitSettings>;
  images: number;
  input: Extractor['size'];
}

function sizeOf({ one, settings, images }: Subject) {
  const { dimensions } = one.embeddings;
  return { ...settings, images, dimensions, patchesPerTile: one.patches, patchesPerImage: one.tiles * one.patches };
}

/**
 * One bank's share of a fit, without the decoding.
 * @param probe seconds of the small coreset
 * @param writing seconds to save a MB
 */
function planBank(runtime: Runtime, subject: Subject, search: SearchWork, probe: number, writing: number): BankPlan {
  const { one, settings, images, input } = subject;
  const size = sizeOf(subject);
  const { tiles } = one;
  const { dimensions } = size;
  const patches = images * size.patchesPerImage;
  const bankSize = bankPatches(size);
  const held = Math.min(patches, poolSize(size).most);
  const calibrated = images === 1 ? 12 : Math.min(images, calibrationImages(size.patchesPerImage));
  const detectorMb = detectorBytes(bankSize, dimensions, calibrated, settings, runtime) / MB;
  const resembling = tiles > 1 || settings.augment !== 'none';
  const fitSeconds = {
    images: (images * tiles * one.learned.mean) / 1000,
    coreset: coresetSeconds(probe, { held, patches, dimensions, bankSize, resembling }),
    calibration: (search.made() + CALIBRATION * calibrated * tiles * search.calibrated()) / 1000,
    save: (one.scored.mean + search.search()) / 1000 + writing * detectorMb
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
    detectorMb,
    scoreMs: tiles * (one.scored.median + search.search()) + search.map()
  };
}

/** Milliseconds to check and write a MB. */
async function writeMs(folder: string): Promise<number> {
  const some = crypto.randomBytes(4 * MB);
  const took = await time(async () => {
    hash(some);
    await writeDurably(path.join(folder, 'some'), some);
  });
  return took / 4;
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
