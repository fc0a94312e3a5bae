// A detector for another plant, in one file: a small detector store, packed. Who has nothing but tar can unpack it into a store's folder.
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { importBackbone } from '../backbones/import';
import { entryOf, fileOfSum, filesOf, isBackboneId } from '../engine/catalogue';
import { GoodpartsError } from '../engine/errors';
import { locateBackbone, sumOf } from '../engine/library';
import { checkName, DetectorStore, type Stored, type StoredInfo } from '../engine/store';
import type { DetectorInfo, FitSettings } from '../engine/types';
import { pack, unpack, unreadable } from './tar';

/** More than this a bundle does not hold, unpacked. */
const LARGEST = 8e9;

async function within<T>(beside: string, use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await fs.mkdtemp(path.join(beside, 'goodparts-bundle-'));
  try {
    return await use(folder);
  } finally {
    await fs.rm(folder, { recursive: true, force: true });
  }
}

/**
 * Writes a version (the current one by default) with its provenance, and with its backbones, but for the embedded one.
 * @param store folder of the detector store
 * @returns the version
 * @throws GoodpartsError `detector-*`, `backbone-*`, `store-write`
 */
export async function exportBundle(store: string, name: string, file: string, version?: string): Promise<string> {
  const source = new DetectorStore(path.resolve(store));
  const wanted = version ?? (await source.current(name));
  const { info, arrays, files } = await source.read(name, wanted);
  await within(os.tmpdir(), async folder => {
    const backbones = await carried(info.settings, source.folder, folder);
    const imported = info.imported ?? { name, version: wanted };
    await new DetectorStore(folder).save({ ...moved(info, backbones), imported }, arrays, files);
    await pack(folder, file).catch((error: Error) => {
      throw new GoodpartsError('store-write', `The bundle ${file} cannot be written: ${error.message}.`);
    });
  });
  return wanted;
}

/** What a version says of itself, without its place in a store. */
function moved({ version: _version, current: _current, ...info }: Stored, backbones: Backbones): StoredInfo {
  return { ...info, settings: { ...info.settings, ...backbones } } as StoredInfo;
}

type Backbones = Pick<FitSettings, 'backbone' | 'secondBackbone'>;

/** Puts the backbones of a version into another store. @returns what they are called there */
async function carried(
  { backbone, secondBackbone }: Required<Backbones>,
  from: string,
  to: string
): Promise<Backbones> {
  const first = await carriedOne(backbone, from, to);
  if (!secondBackbone) return { backbone: first };
  const same = secondBackbone === backbone;
  return { backbone: first, secondBackbone: same ? first : await carriedOne(secondBackbone, from, to, first) };
}

/** @param taken id that is another's already: two files of different folders may have one name */
async function carriedOne(setting: string, from: string, to: string, taken?: string): Promise<string> {
  if (setting === 'embedded') return setting;
  const place = await locateBackbone(setting, from);
  const entry = isBackboneId(setting) ? entryOf(setting) : undefined;
  const files = entry ? filesOf(entry).map(({ name }) => name) : [path.basename(place)];
  const clash = taken === path.basename(place, '.onnx') && !fileOfSum(await sumOf(place));
  const given = isBackboneId(setting) && !entry ? { id: setting } : clash ? { id: `${taken}-second` } : {};
  let id = setting;
  for (const name of files) ({ id } = await importBackbone(path.join(path.dirname(place), name), to, given));
  return id;
}

/**
 * Takes a bundle into a store: as a new version of the detector, which becomes the current one, and its backbone where it brings one.
 * @param as another name for the detector
 * @throws GoodpartsError `bundle-unreadable`, `name-invalid`, `detector-damaged`, `backbone-import`, `store-write`
 */
export async function importBundle(store: string, file: string, as?: string): Promise<DetectorInfo> {
  const target = new DetectorStore(path.resolve(store), 0);
  await fs.access(file).catch(() => {
    throw new GoodpartsError('path-missing', `There is no file ${file}.`);
  });
  return within(os.tmpdir(), async folder => {
    await unpack(file, folder, LARGEST);
    const source = new DetectorStore(folder);
    const [found, ...others] = await source.list();
    if (!found || others.length > 0) throw unreadable('it does not hold one version of one detector');
    const { info, arrays, files } = await source.read(found.name, found.version);
    const name = checkName(as ?? found.name);
    await target.checkWritable(name);
    const backbones = await carried(info.settings, folder, target.folder);
    const version = await target.save({ ...moved(info, backbones), name }, arrays, files);
    return target.info(name, version);
  });
}
