import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { Engine } from '../lib/engine';
import { readMvtec, type MvtecImage } from '../lib/mvtec';
import { writeSample } from '../lib/sample';
import { apart } from './apart';
import type { Options } from './options';
import { peersMissing, runPeer, type PeerBackbone, type PeerJob, type PeerResult } from './peers';

export interface BenchBackbone {
  name: string;
  /** as the engine takes it */
  file: string;
  /** what the peers call it; they do not have ours */
  peer?: PeerBackbone;
}

/** What all sections share. */
export interface Context {
  options: Options;
  /** emptied at the end */
  folder: string;
  /** good pictures scaled to 1024 px, as JPEG, so that everyone decodes the same files; a class in MVTec layout */
  jpegFolder: string;
  /** the class as it was given, or drawn: for what needs its defects */
  classFolder: string;
  /** its training pictures, all in one folder */
  pictures: string[];
  /** some of its good pictures to test with */
  tests: string[];
  backbones: BenchBackbone[];
  peers: boolean;
  /** of everything that is measured; those of the peers come with their first result */
  versions: Record<string, string>;
}

/** Training pictures of MVTec AD's bottle, which published timings are of. */
const PICTURES = 209;
const TESTS = 12;
/** Share of the patches in a bank. */
export const RATIO = 0.1;
const PEERS_OUT = path.resolve(__dirname, '../../bench/peers/out');

export async function prepareContext(
  options: Options,
  folder: string,
  versions: Context['versions']
): Promise<Context> {
  const count = options.quick ? 20 : PICTURES;
  const classFolder = options.images ?? path.join(folder, 'sample');
  if (!options.images) await writeSample(classFolder, { train: count });
  const backbones: BenchBackbone[] = [{ name: 'embedded', file: 'embedded' }];
  for (const [name, peer] of [
    ['ResNet18', 'resnet18'],
    ['WideResNet50-2', 'wide_resnet50_2']
  ] as const) {
    const file = path.join(PEERS_OUT, `${peer}.onnx`);
    if (fs.existsSync(file)) backbones.push({ name, file, peer });
  }
  const missing = peersMissing();
  if (missing) console.log(missing);
  const jpegFolder = path.join(folder, 'jpeg');
  const { train, test } = await readMvtec(classFolder);
  const write = (from: MvtecImage[], to: string): Promise<string[]> =>
    jpegs(from, path.join(jpegFolder, to), options.quick ? 256 : 1024);
  const pictures = await write(train.slice(0, count), 'train/good');
  const tests = await write(test.filter(t => !t.label).slice(0, TESTS), 'test/good');
  return { options, folder, jpegFolder, classFolder, pictures, tests, backbones, peers: !missing, versions };
}

async function jpegs(images: MvtecImage[], target: string, size: number): Promise<string[]> {
  fs.mkdirSync(target, { recursive: true });
  const files: string[] = [];
  for (const [i, { path: source }] of images.entries()) {
    const file = path.join(target, `${String(i).padStart(3, '0')}.jpg`);
    await sharp(source)
      .removeAlpha()
      .toColourspace('srgb')
      .resize(size, size, { fit: 'fill' })
      .jpeg({ quality: 95 })
      .toFile(file);
    files.push(file);
  }
  return files;
}

/** Measures a peer with the same pictures and threads as everyone. */
export function measurePeer(context: Context, job: Omit<PeerJob, 'images' | 'threads'>): PeerResult {
  const images = path.dirname(context.pictures[0]);
  const result = runPeer({ ...job, images, threads: context.options.threads });
  Object.assign(context.versions, result.versions);
  return result;
}

interface StoreJob {
  store: string;
  pictures: string[];
  backbone: string;
  threads: number;
}

/**
 * A store with the detector `bench`: all patches of a tenth of the pictures. How long a search takes does not depend on which patches the
 * bank holds, and taking all of a few pictures needs no coreset.
 */
export function storeOf(context: Context, { name, file }: BenchBackbone): string {
  const store = path.join(context.folder, `store-${name}`);
  if (fs.existsSync(store)) return store;
  // the last ones: the first ones are scored
  const pictures = context.pictures.slice(-Math.max(2, Math.round(context.pictures.length * RATIO)));
  const job: StoreJob = { store, pictures, backbone: file, threads: context.options.threads };
  apart(__filename, job);
  return store;
}

export async function work({ store, pictures, backbone, threads }: StoreJob): Promise<number> {
  const engine = new Engine({ store, threads, device: 'cpu' });
  const { bankSize } = await engine.fit(
    'bench',
    pictures.map(file => fs.readFileSync(file)),
    { backbone, coresetRatio: 1 }
  );
  return bankSize;
}
