import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { Engine } from '../lib/engine';
import { readMvtec } from '../lib/mvtec';
import { writeSample } from '../lib/sample';
import { apart } from './apart';
import type { Options } from './options';
import { peersMissing, type PeerBackbone } from './peers';

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
  /** class in MVTec layout */
  classFolder: string;
  /** good pictures as JPEG, 1024 px, so that everyone decodes the same files; all in one folder */
  pictures: string[];
  backbones: BenchBackbone[];
  peers: boolean;
}

/** Training pictures of MVTec AD's bottle, which published timings are of. */
const PICTURES = 209;
/** Share of the patches in a bank. */
export const RATIO = 0.1;
const PEERS_OUT = path.resolve(__dirname, '../../bench/peers/out');

export async function prepareContext(options: Options, folder: string): Promise<Context> {
  const count = options.quick ? 20 : PICTURES;
  const classFolder = options.images ?? path.join(folder, 'sample');
  // sample parts are rendered; those of the bench at full size and number
  if (!options.images) await writeSample(classFolder, { train: count, size: options.quick ? 256 : 1024 });
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
  const pictures = await jpegs(classFolder, path.join(folder, 'jpeg'), count, options.quick ? 256 : 1024);
  return { options, folder, classFolder, pictures, backbones, peers: !missing };
}

async function jpegs(classFolder: string, target: string, count: number, size: number): Promise<string[]> {
  fs.mkdirSync(target, { recursive: true });
  const { train } = await readMvtec(classFolder);
  const files: string[] = [];
  for (const [i, { path: source }] of train.slice(0, count).entries()) {
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
