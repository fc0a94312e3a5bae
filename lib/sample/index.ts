import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { GoodpartsError } from '../engine/errors';
import { defectKinds, type DefectKind } from './defects';
import { shoot } from './render';

export { defectKinds, type DefectKind } from './defects';

export interface SampleOptions {
  /** good parts to learn from; default 40 */
  train?: number;
  /** good parts to test with; each kind of defect gets a third as many; default 12 */
  test?: number;
  /** side of the pictures, pixels, 64..2048; default 384 */
  size?: number;
  /** same seed, same bytes; default 0 */
  seed?: number;
  onProgress?: (done: number, total: number) => void;
}

/** Pictures written; `defects` counts all kinds together. */
export interface SampleCounts {
  train: number;
  good: number;
  defects: number;
}

interface Picture {
  /** in the sample's folder, without the suffix */
  file: string;
  mask?: string;
  defect?: DefectKind;
  severity?: number;
}

/** Says that a folder is a sample and may be written anew. */
const MARK = 'goodparts-sample.json';

function plan(train: number, test: number): Picture[] {
  const stem = (i: number) => String(i).padStart(3, '0');
  const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);
  const each = Math.ceil(test / 3);
  return [
    ...numbers(train).map(i => ({ file: `train/good/${stem(i)}` })),
    ...numbers(test).map(i => ({ file: `test/good/${stem(i)}` })),
    ...defectKinds.flatMap(defect =>
      numbers(each).map(i => ({
        file: `test/${defect}/${stem(i)}`,
        mask: `ground_truth/${defect}/${stem(i)}_mask`,
        defect,
        // from subtle to plain, evenly
        severity: each === 1 ? 0.5 : 0.25 + (0.75 * i) / (each - 1)
      }))
    )
  ];
}

async function writePicture(folder: string, picture: Picture, size: number, seed: number): Promise<void> {
  const { pixels, mask } = await shoot(seed, picture.file, size, picture.defect, picture.severity);
  const png = (data: Buffer, channels: 1 | 3, name: string) =>
    sharp(data, { raw: { width: size, height: size, channels } })
      .toColourspace(channels === 1 ? 'b-w' : 'srgb')
      .png({ compressionLevel: 4 })
      .toFile(path.join(folder, `${name}.png`));
  await png(pixels, 3, picture.file);
  if (mask) await png(mask, 1, picture.mask!);
}

/** A sample may replace nothing, an empty folder, or an earlier sample. */
async function checkFolder(folder: string): Promise<void> {
  if (!existsSync(folder)) return;
  const entries = await readdir(folder).catch(() => ['(a file)']);
  if (entries.length > 0 && !entries.includes(MARK))
    throw new GoodpartsError(
      'path-forbidden',
      `"${folder}" is not empty and holds no sample parts. Choose an empty or a new folder.`,
      { path: folder }
    );
}

function checkNumber(name: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high)
    throw new RangeError(`${name} must be a whole number from ${low} to ${high}, not ${value}.`);
}

/**
 * Draws a set of sample parts (a turned steel flange and six kinds of defect) into `folder`, in MVTec layout:
 * train/good, test/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png (white where the defect is); all PNG.
 * The folder appears only when it is complete, and replaces an earlier sample there.
 * @throws GoodpartsError `path-forbidden` when the folder holds anything else; RangeError for numbers out of range
 */
export async function writeSample(folder: string, options: SampleOptions = {}): Promise<SampleCounts> {
  const { train = 40, test = 12, size = 384, seed = 0, onProgress } = options;
  checkNumber('train', train, 1, 10000);
  checkNumber('test', test, 1, 10000);
  checkNumber('size', size, 64, 2048);
  checkNumber('seed', seed, 0, 2 ** 32 - 1);
  const target = path.resolve(folder);
  await checkFolder(target);
  const pictures = plan(train, test);
  const beside = `${target}.part-${process.pid}`;
  try {
    for (const name of new Set(pictures.flatMap(p => [p.file, p.mask ?? p.file])))
      await mkdir(path.dirname(path.join(beside, name)), { recursive: true });
    let done = 0;
    const queue = pictures.values();
    const worker = async () => {
      for (const picture of queue) {
        await writePicture(beside, picture, size, seed);
        onProgress?.(++done, pictures.length);
      }
    };
    await Promise.all([worker(), worker()]);
    const defects = pictures.filter(p => p.defect).length;
    const counts = { train, good: test, defects };
    await writeFile(path.join(beside, MARK), JSON.stringify({ seed, size, ...counts }, null, 2) + '\n');
    await rm(target, { recursive: true, force: true });
    await rename(beside, target);
    return counts;
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}
