// Fits of as many pictures as are asked for, each in a process of its own, for the peak of its memory (VmHWM, Linux).
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { Engine, GoodpartsError } from '../lib/engine';
import type { FitSettings, RawImage } from '../lib/engine/types';
import { randomStream } from '../lib/engine/random';
import { FIT_MALLOC } from '../lib/host/supervisor';
import { readMvtec } from '../lib/mvtec';
import { apart } from './apart';

export interface FitJob {
  /** in MVTec layout */
  folder: string;
  images: number;
  settings: FitSettings;
  threads: number;
}

export interface FitRow {
  images: number;
  bankSize: number;
  peakMb: number;
  fitSeconds: number;
  detectorMb: number;
  /** one picture, all stages, each */
  scoreMs: number[];
  radius: number;
  stages: Record<string, number>;
}

/** Pictures decoded for the variations: more would only fill the memory that is to be measured. */
const ORIGINALS = 8;

/** Pictures scored: some seconds of them, as a shared machine is faster or slower from one second to the next. */
const SCORES = 30;

/** As many different pictures as are asked for: originals first, then shifted and brightened ones. */
async function* pictures(files: string[], count: number): AsyncGenerator<Buffer | RawImage> {
  const random = randomStream(1);
  const decoded: RawImage[] = [];
  for (let i = 0; i < count; i++) {
    if (i < files.length) yield fs.readFileSync(files[i]);
    else {
      const at = i % Math.min(files.length, ORIGINALS);
      decoded[at] ??= await decode(files[at]);
      yield varied(decoded[at], random);
    }
  }
}

async function decode(file: string): Promise<RawImage> {
  const { data, info } = await sharp(file)
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height, channels: 3 };
}

/** A copy that is moved by up to 2 % (edges come in on the other side) and lit by up to 5 % more or less. */
function varied({ data, width, height }: RawImage, random: () => number): RawImage {
  const shift =
    (Math.round((random() - 0.5) * 0.04 * height) * width + Math.round((random() - 0.5) * 0.04 * width)) * 3;
  const light = 0.95 + 0.1 * random();
  const copy = new Uint8ClampedArray(data.length);
  for (let i = 0; i < data.length; i++) copy[i] = data[(i + shift + data.length) % data.length] * light;
  return { data: new Uint8Array(copy.buffer), width, height, channels: 3 };
}

const peakMb = (): number =>
  Math.round((Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))?.[1] ?? NaN) * 1024) / 1e6);

/** One fit and some scores, in this process; for `apart`. */
export async function work({ folder, images, settings, threads }: FitJob): Promise<FitRow> {
  const store = fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-fit-scale-'));
  try {
    const { train, test } = await readMvtec(folder);
    const engine = new Engine({ store, threads, device: 'cpu' });
    const files = train.map(t => t.path);
    const fit = await engine.fit('scale', pictures(files, images), settings);
    const peak = peakMb();
    const times: number[] = [];
    for (const { path: file } of test.slice(0, SCORES)) {
      const [result] = await engine.score('scale', [fs.readFileSync(file)], { map: 'small' });
      if (result instanceof GoodpartsError) throw result;
      times.push(result.timing.total);
    }
    const version = path.join(store, 'scale', fit.version);
    const bytes = fs.readdirSync(version).reduce((sum, f) => sum + fs.statSync(path.join(version, f)).size, 0);
    const { total, ...stages } = fit.timing;
    return {
      images,
      bankSize: fit.bankSize,
      peakMb: peak,
      fitSeconds: Math.round(total / 100) / 10,
      detectorMb: Math.round(bytes / 1e5) / 10,
      scoreMs: times,
      radius: fit.radius,
      stages
    };
  } finally {
    fs.rmSync(store, { recursive: true, force: true });
  }
}

/** A fit in a process of its own, as in Node-RED. */
export const fitApart = (job: FitJob): FitRow => apart<FitRow>(__filename, job, FIT_MALLOC);
