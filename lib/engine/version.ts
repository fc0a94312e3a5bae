// The files of one version of a detector; store.ts says where they lie.
import crypto from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { encodeNpy, Npy, NpyData } from './npy';
import type { DetectorInfo } from './types';

export const INFO = 'detector.json';
export const SUMS = 'SHA256SUMS';

/** What a version holds beside `detector.json`, each as `<key>.npy`. */
export type Arrays = Record<string, Npy>;

type Shape = (array: Npy, info: StoredInfo) => boolean;
const floats: Shape = ({ data, shape }) => data instanceof Float32Array && shape.length === 1;
/** The arrays that every version has, and what they have to be like; see fit.ts and selftest.ts. */
const SHAPES: Record<string, Shape> = {
  bank: ({ data, shape }, info) =>
    data instanceof Float32Array && `${shape}` === `${[info.bankSize, info.dimensions]}` && info.bankSize > 0,
  'bank-origin': ({ shape }, info) => `${shape}` === `${info.bankSize}`,
  'selftest-image': ({ data, shape }) => data instanceof Uint8Array && shape.length === 3 && shape[2] === 3,
  'selftest-embedding': floats,
  'selftest-map': floats
};
export const ARRAYS = Object.keys(SHAPES);

/** `detector.json`: everything about a version but its place in the store. */
export type StoredInfo = Omit<DetectorInfo, 'current' | 'version'> & { selfTest: { score: number } };

/** The first array that is not what `info` says. */
export const unfit = (arrays: Arrays, info: StoredInfo): string | undefined =>
  info.settings.precision === 'int8' && !(arrays.ranges?.data instanceof Float32Array)
    ? 'ranges'
    : ARRAYS.find(key => !SHAPES[key](arrays[key], info));

export const hash = (bytes: Uint8Array): string => crypto.createHash('sha256').update(bytes).digest('hex');

export async function writeVersion(folder: string, info: StoredInfo, arrays: Arrays): Promise<void> {
  const files = new Map<string, Buffer>(
    Object.entries(arrays).map(([key, array]: [string, Npy<NpyData>]) => [`${key}.npy`, encodeNpy(array)])
  );
  files.set(INFO, Buffer.from(JSON.stringify(info, null, 2) + '\n'));
  const sums = [...files].map(([file, bytes]) => `${hash(bytes)}  ${file}\n`).join('');
  for (const [file, bytes] of [...files, [SUMS, Buffer.from(sums)] as const])
    await writeDurably(path.join(folder, file), bytes);
}

/** Writes and waits until the disk has it: a rename must not overtake the data. */
export async function writeDurably(file: string, bytes: Uint8Array): Promise<void> {
  const handle = await fs.open(file, 'wx');
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Nothing when the text is not what `writeVersion` writes: its users look into these without asking. */
export function parseInfo(text: string): StoredInfo | undefined {
  try {
    const info = JSON.parse(text) as StoredInfo;
    const whole = info.settings.backbone && info.calibration.scores.length && Number.isFinite(info.selfTest.score);
    return whole ? info : undefined;
  } catch {
    return undefined;
  }
}

export function parseSums(text: string): { sha256: string; file: string }[] {
  return [...text.matchAll(/^([0-9a-f]{64}) {2}([\w.-]+)$/gm)].map(([, sha256, file]) => ({ sha256, file }));
}
