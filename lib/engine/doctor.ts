import fs from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import type { DoctorCheck } from './contracts';
import { Extractor } from './features';
import { MapHead, createSearch } from './head';
import { locateBackbone } from './library';
import { openNetwork } from './network/fit';
import { completeSettings } from './presets';
import { Inspection } from './region';
import type { Runtime } from './runtime';
import { runSelfTest, selfTestPicture } from './selftest';
import { checkName } from './store';
import type { DeviceReport, FitSettings } from './types';

/** What the embedded backbone gave for the self-test picture where it was recorded (Linux x64, CPU). */
interface Recorded {
  backboneSha256: string;
  score: number;
  embedding: number[];
}

/** A fit that somebody means to start. */
export interface DoctorSubject {
  name: string;
  settings: FitSettings;
}

const RECORDED = path.resolve(__dirname, '../../../models/selftest.json');

/** Runs one check; an exception is its answer, too. */
export async function check(what: string, run: () => Promise<string> | string): Promise<DoctorCheck> {
  try {
    return { what, ok: true, detail: await run() };
  } catch (error) {
    return { what, ok: false, detail: (error as Error).message };
  }
}

/** What the embedded backbone gives here: its bank is every fourth patch of the picture itself. */
export async function measureSelfTest(runtime: Runtime): Promise<Recorded> {
  const settings = completeSettings({ inputWidth: 128, inputHeight: 96 });
  const extractor = await Extractor.create(runtime, settings);
  const picture = selfTestPicture();
  const { patches, dimensions } = await extractor.embed([(await extractor.prepare(picture)).input]);
  const bank = patches[0].filter((_, i) => Math.floor(i / dimensions) % 4 === 0);
  const search = await createSearch(runtime, bank, dimensions, settings);
  const map = await MapHead.create(runtime);
  try {
    const result = await runSelfTest({ extractor, search, map, settings }, picture);
    const embedding = Array.from(
      result.embedding.filter((_, i) => i % 97 === 0),
      x => Number(x.toPrecision(7))
    );
    return { backboneSha256: extractor.backbone.sha256, score: result.score, embedding };
  } finally {
    await Promise.all([extractor, search, map].map(part => part.release()));
  }
}

/**
 * @param used the device that computes, once everything was tried
 * @param backbones the store whose backbones are meant where one is named by its id
 */
export function doctorChecks(
  runtime: Runtime,
  used: () => DeviceReport,
  store: string,
  backbones: string,
  subject?: DoctorSubject
): Promise<DoctorCheck>[] {
  const meant = subject
    ? [check('Settings', () => describeSettings(subject)), ...networkChecks(runtime, backbones, subject.settings)]
    : [];
  const selfTest = check('Self-test', () => compareSelfTest(runtime));
  const computing = Promise.all([...meant, selfTest]).then(() => describeDevice(runtime.version, used()));
  return [
    check('Node.js', () => `${process.version} on ${process.platform} ${process.arch}`),
    check('Image reading', () => `sharp ${sharp.versions.sharp}, libvips ${sharp.versions.vips}`),
    check('Computing', () => computing),
    ...meant,
    selfTest,
    check('Detector store', () => writable(store))
  ];
}

function networkChecks(runtime: Runtime, store: string, settings: FitSettings): Promise<DoctorCheck>[] {
  if (settings.network) return [check('Network', () => loadsNetwork(runtime, settings))];
  const { backbone, layers, secondBackbone } = settings;
  const first = check('Backbone', () => loadsBackbone(runtime, store, { backbone, layers }));
  if (!secondBackbone) return [first];
  return [first, check('Second backbone', () => loadsBackbone(runtime, store, { backbone: secondBackbone }))];
}

function describeDevice(version: string, { used, note, wanted }: DeviceReport): string {
  const text = `ONNX Runtime ${version} on ${used}${note ? ` (${note})` : ''}`;
  if (used === 'wasm' || (wanted !== 'auto' && wanted !== used)) throw new Error(text);
  return text;
}

async function compareSelfTest(runtime: Runtime): Promise<string> {
  const recorded = JSON.parse(await fs.readFile(RECORDED, 'utf8')) as Recorded;
  const got = await measureSelfTest(runtime);
  if (got.backboneSha256 !== recorded.backboneSha256)
    throw new Error('models/backbone.onnx is not the file that this package came with; install the package again.');
  const scale = Math.max(...recorded.embedding.map(Math.abs));
  const differences = recorded.embedding.map((x, i) => Math.abs(got.embedding[i] - x) / scale);
  const worst = Math.max(...differences, Math.abs(got.score - recorded.score) / recorded.score);
  if (!(worst < 2e-3))
    throw new Error(
      `results differ by ${(worst * 100).toPrecision(2)} % from what they should be; set the device to cpu.`
    );
  return `results as they should be, to ${(worst * 100).toFixed(4)} %`;
}

async function describeSettings({ name, settings }: DoctorSubject): Promise<string> {
  checkName(name);
  const { preset, inputWidth, inputHeight, coresetRatio, region } = completeSettings(settings);
  await Inspection.create(region);
  return `${name}: ${preset}, ${inputWidth} x ${inputHeight} pixels, coreset ratio ${coresetRatio}`;
}

/** Leaves the other settings out: what is wrong with them is not the backbone's fault. */
async function loadsBackbone(runtime: Runtime, store: string, { backbone, layers }: FitSettings): Promise<string> {
  const settings = completeSettings({ backbone, layers });
  const located = await locateBackbone(settings.backbone, store);
  const extractor = await Extractor.create(runtime, { ...settings, backbone: located });
  await extractor.release();
  return `${settings.backbone}, layers ${extractor.backbone.layers.join(', ')}`;
}

async function loadsNetwork(runtime: Runtime, settings: FitSettings): Promise<string> {
  const { network, facts } = await openNetwork(runtime, settings);
  await network.release();
  const { format, input, outputs } = facts;
  return `${format}, ${input.width} x ${input.height} pixels, outputs ${Object.values(outputs).join(', ')}`;
}

/** Only looks: a folder that a mistyped path names must not come into being by a test. */
async function writable(store: string): Promise<string> {
  const place = await nearest(store);
  if (!(await fs.stat(place)).isDirectory()) throw new Error(`${place} is not a folder.`);
  await fs.access(place, fs.constants.W_OK | fs.constants.X_OK);
  return place === store ? store : `${store} (the first fit makes it)`;
}

/** The place itself, or the first folder above it that is there. */
async function nearest(place: string): Promise<string> {
  try {
    await fs.stat(place);
    return place;
  } catch (error) {
    const parent = path.dirname(place);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || parent === place) throw error;
    return nearest(parent);
  }
}
