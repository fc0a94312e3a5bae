// The files of one version of a detector; store.ts says where they lie.
import crypto from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { encodeNpy, Npy, NpyData } from './npy';
import type { BankFacts, DetectorInfo, DetectorKind } from './types';

export const INFO = 'detector.json';
export const SUMS = 'SHA256SUMS';
/** The network of an ONNX detector, its weights included. */
export const NETWORK = 'network.onnx';

/** What a version holds beside `detector.json`, each as `<key>.npy`. */
export type Arrays = Record<string, Npy>;
/** Other files of a version, by name. */
export type Files = Record<string, Uint8Array>;

/** What `detector.json` holds beside what everybody is told. */
interface Kept {
  selfTest: { score: number };
}
type OfKind<K extends DetectorKind> = Extract<DetectorInfo, { kind?: K }>;
type InFile<T> = T extends unknown ? Omit<T, 'current' | 'version'> & Kept : never;
/** `detector.json`: everything about a version but its place in the store; `K` narrows it to a kind. */
export type StoredInfo<K extends DetectorKind = DetectorKind> = InFile<OfKind<K>>;
/** The same with its place. */
export type Stored<K extends DetectorKind = DetectorKind> = OfKind<K> & Kept;

/** Versions of before there were kinds have none. */
export const kindOf = ({ kind }: { kind?: DetectorKind }): DetectorKind => kind ?? 'patchcore';

/** The names of what belongs to a member of an ensemble, by its place. */
const PREFIXES = ['', 'second-'];
export const prefixed = <T>(arrays: Record<string, T>, member: number): Record<string, T> =>
  Object.fromEntries(Object.entries(arrays).map(([key, value]) => [PREFIXES[member] + key, value]));
/** What belongs to a member of an ensemble, by the names of `prefixed`, under its own names. */
export const arraysOf = (arrays: Arrays, member: number): Arrays =>
  Object.fromEntries(
    Object.entries(arrays).flatMap(([key, value]) =>
      key.startsWith(PREFIXES[member]) ? [[key.slice(PREFIXES[member].length), value]] : []
    )
  );

type Shape<Info = StoredInfo> = (array: Npy, info: Info) => boolean;
const floats = ({ data, shape }: Npy): boolean => data instanceof Float32Array && shape.length === 1;
const picture = ({ data, shape }: Npy): boolean => data instanceof Uint8Array && shape.length === 3 && shape[2] === 3;
/** What is stored of a memory bank. */
const bankShapes = <Info>(facts: (info: Info) => BankFacts): Record<string, Shape<Info>> => ({
  bank: ({ data, shape }, info) => {
    const { bankSize, dimensions } = facts(info);
    return data instanceof Float32Array && `${shape}` === `${[bankSize, dimensions]}` && bankSize > 0;
  },
  'bank-origin': ({ shape }, info) => `${shape}` === `${facts(info).bankSize}`,
  'selftest-image': picture,
  'selftest-embedding': floats,
  'selftest-map': floats
});
/** The arrays that every version of a kind has, and what they have to be like; see selftest.ts and the fit of each kind. */
const SHAPES: { [K in DetectorKind]: Record<string, Shape<StoredInfo<K>>> } = {
  patchcore: bankShapes(info => info),
  ensemble: {
    ...bankShapes<StoredInfo<'ensemble'>>(({ members }) => members[0]),
    ...prefixed(
      bankShapes<StoredInfo<'ensemble'>>(({ members }) => members[1]),
      1
    )
  },
  onnx: {
    'selftest-image': picture,
    'selftest-map': floats
  }
};
/** What a version of a kind holds beside its arrays. */
const FILES: { [K in DetectorKind]: string[] } = { patchcore: [], ensemble: [], onnx: [NETWORK] };
/** Whether what a kind needs is in its info at all: its users look into it without asking. What is of a newer kind is told when it is loaded. */
const WHOLE: { [K in DetectorKind]: (info: StoredInfo<K>) => unknown } = {
  patchcore: info => info.settings.backbone,
  ensemble: ({ settings, members }) =>
    settings.secondBackbone && members.length === 2 && members.every(({ scale }) => scale.score > 0 && scale.map > 0),
  onnx: info => info.network
};

const shapesOf = (info: StoredInfo): Record<string, Shape> => SHAPES[kindOf(info)] as Record<string, Shape>;
/** The files that a version cannot be without. */
export const filesOf = (info: StoredInfo): string[] => [
  INFO,
  ...FILES[kindOf(info)],
  ...Object.keys(shapesOf(info)).map(key => `${key}.npy`)
];

/** The first array that is not what `info` says. */
export function unfit(arrays: Arrays, info: StoredInfo): string | undefined {
  if (info.settings.precision === 'int8' && !(arrays.ranges?.data instanceof Float32Array)) return 'ranges';
  if (info.settings.align && info.settings.align !== 'none' && arrays.reference?.shape.length !== 3) return 'reference';
  return Object.entries(shapesOf(info)).find(([key, fits]) => !fits(arrays[key], info))?.[0];
}

export const hash = (bytes: Uint8Array): string => crypto.createHash('sha256').update(bytes).digest('hex');

/** As `hash`, in another thread: a bank takes tens of milliseconds. */
export const hashAside = async (bytes: Uint8Array): Promise<string> =>
  Buffer.from(await crypto.webcrypto.subtle.digest('SHA-256', bytes)).toString('hex');

export async function writeVersion(folder: string, info: StoredInfo, arrays: Arrays, others: Files): Promise<void> {
  const files = new Map<string, Uint8Array>(
    Object.entries(arrays).map(([key, array]: [string, Npy<NpyData>]) => [`${key}.npy`, encodeNpy(array)])
  );
  for (const [file, bytes] of Object.entries(others)) files.set(file, bytes);
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
    const whole = info.settings && info.calibration.scores.length && Number.isFinite(info.selfTest.score);
    const suits = WHOLE[kindOf(info)] as ((info: StoredInfo) => unknown) | undefined;
    return whole && (suits?.(info) ?? true) ? info : undefined;
  } catch {
    return undefined;
  }
}

export function parseSums(text: string): { sha256: string; file: string }[] {
  return [...text.matchAll(/^([0-9a-f]{64}) {2}([\w.-]+)$/gm)].map(([, sha256, file]) => ({ sha256, file }));
}
