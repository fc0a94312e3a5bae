// How a fit grows with its images: `node dist/bench/fit-scale.js [--images FOLDER] [--backbone FILE] [--bank N] [--large]`.
// Every fit runs in a process of its own, for the peak of its memory (VmHWM, Linux).
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { Engine, GoodpartsError } from '../lib/engine';
import type { RawImage } from '../lib/engine/types';
import { randomStream } from '../lib/engine/random';
import { readMvtec } from '../lib/mvtec';
import { writeSample } from '../lib/sample';

interface Job {
  /** in MVTec layout */
  folder: string;
  images: number;
  backbone: string;
  bankSize: number;
}

export interface FitRow {
  images: number;
  bankSize: number;
  peakMb: number;
  fitSeconds: number;
  detectorMb: number;
  /** median of one picture, all stages */
  scoreMs: number;
  radius: number;
  stages: Record<string, number>;
}

/** Pictures decoded for the variations: more would only fill the memory that is to be measured. */
const ORIGINALS = 40;

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
  Math.round(Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))?.[1] ?? NaN) / 1024);

/** One fit and some scores, in this process. */
async function work({ folder, images, backbone, bankSize }: Job): Promise<FitRow> {
  const store = fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-fit-scale-'));
  try {
    const { train, test } = await readMvtec(folder);
    const engine = new Engine({ store });
    const files = train.map(t => t.path);
    const fit = await engine.fit('scale', pictures(files, images), { backbone, bankSize });
    const peak = peakMb();
    const times: number[] = [];
    for (const { path: file } of test.slice(0, 12)) {
      const [result] = await engine.score('scale', [fs.readFileSync(file)]);
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
      scoreMs: Math.round(times.sort((a, b) => a - b)[times.length >> 1] * 10) / 10,
      radius: fit.radius,
      stages
    };
  } finally {
    fs.rmSync(store, { recursive: true, force: true });
  }
}

/** The same in a process of its own. */
function apart(job: Job): FitRow {
  const { status, stdout } = spawnSync(process.execPath, [__filename, '--job', JSON.stringify(job)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit']
  });
  if (status !== 0) throw new Error(`The fit of ${job.images} pictures failed.`);
  return JSON.parse(stdout) as FitRow;
}

/** Fits of more and more pictures, with a bank of a fixed size. The largest takes several minutes. */
export function fitScaleBench(
  folder: string,
  { backbone = 'embedded', bankSize = 4000, large = false } = {}
): FitRow[] {
  return [100, 1000, ...(large ? [10000] : [])].map(images => apart({ folder, images, backbone, bankSize }));
}

/** A fit of 209 pictures (MVTec AD bottle's number) and a tenth of their patches. */
export function fitBench(folder: string, backbone = 'embedded', images = 209): FitRow {
  return apart({ folder, images, backbone, bankSize: 0 });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      job: { type: 'string' },
      images: { type: 'string' },
      backbone: { type: 'string', default: 'embedded' },
      bank: { type: 'string', default: '4000' },
      count: { type: 'string' },
      large: { type: 'boolean', default: false }
    }
  });
  if (values.job) return void console.log(JSON.stringify(await work(JSON.parse(values.job) as Job)));
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-fit-scale-'));
  try {
    const folder = values.images ?? path.join(scratch, 'sample');
    if (!values.images) await writeSample(folder);
    const { backbone, large } = values;
    if (values.count)
      console.log(
        JSON.stringify(apart({ folder, images: Number(values.count), backbone, bankSize: Number(values.bank) }))
      );
    else {
      console.log(JSON.stringify(fitBench(folder, backbone)));
      for (const row of fitScaleBench(folder, { backbone, bankSize: Number(values.bank), large }))
        console.log(JSON.stringify(row));
    }
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

if (require.main === module) void main();
