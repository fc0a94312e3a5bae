import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { CatalogueEntry, CatalogueFile, entryOf, filesOf, isBackboneId } from './catalogue';
import { GoodpartsError } from './errors';

/**
 * Backbones on disk: `<store>/@backbones/<id>/`, beside the detectors that need them, so that a store that is copied or shared is
 * whole. The `@` is in no detector's name. A backbone of the catalogue has its publisher's file names; an imported one is
 * `model.onnx` with `SHA256SUMS` (`sha256sum -c` checks it).
 */
const FOLDER = '@backbones';
export const IMPORTED = 'model.onnx';
export const SUMS = 'SHA256SUMS';

export const libraryFolder = (store: string): string => path.join(path.resolve(store), FOLDER);

/** @throws GoodpartsError `name-invalid`; an id becomes a folder, so it is never allowed to be a path */
export function backboneFolder(store: string, id: string): string {
  if (!isBackboneId(id))
    throw new GoodpartsError(
      'name-invalid',
      `"${String(id).slice(0, 80)}" is no name of a backbone: use 1 to 64 letters, digits, dots, dashes and underscores, without .onnx at the end.`
    );
  return path.join(libraryFolder(store), id);
}

/** The checksum that an imported backbone has to have; undefined where there is none of that id. */
export async function importedSum(store: string, id: string): Promise<string | undefined> {
  const text = await fs.promises.readFile(path.join(backboneFolder(store, id), SUMS), 'utf8').catch(() => '');
  return new RegExp(`^([0-9a-f]{64})  ${IMPORTED}$`, 'm').exec(text)?.[1];
}

/** Whether a setting means a backbone by its id: one of the catalogue, or one that was imported into this store. */
export function isKnownId(store: string, setting: string): boolean {
  if (!isBackboneId(setting)) return false;
  return entryOf(setting) !== undefined || fs.existsSync(path.join(backboneFolder(store, setting), SUMS));
}

/**
 * What `loadBackbone` is to read for a backbone setting: `embedded` as it is; the file of an id, once its bytes are checked;
 * anything else is taken for a path.
 * @throws GoodpartsError `backbone-missing` with what to do about it, `backbone-damaged`
 */
export async function locateBackbone(setting: string, store: string): Promise<string> {
  if (!isBackboneId(setting)) return setting;
  const entry = entryOf(setting);
  if (entry) return locateEntry(entry, store);
  const folder = backboneFolder(store, setting);
  const sha256 = await importedSum(store, setting);
  if (sha256 === undefined) return unknown(setting, store);
  const file = path.join(folder, IMPORTED);
  if ((await checkFile(file, { sha256, bytes: null })) === 'right') return file;
  throw new GoodpartsError(
    'backbone-damaged',
    `The imported backbone ${setting} is damaged: ${file} is missing or was changed. Import it again.`
  );
}

async function locateEntry(entry: CatalogueEntry, store: string): Promise<string> {
  const folder = backboneFolder(store, entry.id);
  for (const file of filesOf(entry)) {
    const state = await checkFile(path.join(folder, file.name), file);
    if (state === 'missing') throw missing(entry, file, store);
    if (state === 'wrong')
      throw new GoodpartsError(
        'backbone-damaged',
        `${path.join(folder, file.name)} is not the file that it should be (sha256 ${file.sha256}). ` +
          `Get it again: ${command(`pull ${entry.id}`, store)}.`
      );
  }
  return path.join(folder, filesOf(entry)[0].name);
}

/** A name that nobody knows may still be a file in the working folder; `loadBackbone` reads it then. */
function unknown(setting: string, store: string): string {
  if (fs.existsSync(path.resolve(setting))) return setting;
  throw new GoodpartsError(
    'backbone-missing',
    `There is no backbone "${setting}": it is neither in the catalogue, nor imported into ${libraryFolder(store)}, nor a file. ` +
      `See ${command('list', store)}.`,
    { setting }
  );
}

/** The one sentence that somebody without internet needs, and somebody with it, too. */
export function missing(entry: CatalogueEntry, file: CatalogueFile, store: string): GoodpartsError {
  const folder = backboneFolder(store, entry.id);
  const size = file.bytes === null ? '' : `${megabytes(file.bytes)} MB, `;
  return new GoodpartsError(
    'backbone-missing',
    `The backbone ${entry.id} is not on this machine: ${file.name} (${size}sha256 ${file.sha256}) is missing in ${folder}. ` +
      `With internet: ${command(`pull ${entry.id}`, store)}, or Download in the anomaly-model node. ` +
      `Without: fetch ${file.url} on another machine, then put the file into that folder, or ${command(`import ${file.name}`, store)}.`,
    { backbone: entry.id, file: file.name, sha256: file.sha256, folder }
  );
}

function command(what: string, store: string): string {
  const place = path.resolve(store);
  return `goodparts models ${what} --store ${/^[\w@%+=:,./\\-]+$/.test(place) ? place : `"${place}"`}`;
}

export const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);

/** Files whose bytes were found right, by path: what they were like then. A large one takes a second to read. */
const checked = new Map<string, string>();

/** Whether a file is there and its size and checksum are right. Read again only when it has changed since. */
export async function checkFile(
  file: string,
  { sha256, bytes }: Pick<CatalogueFile, 'sha256' | 'bytes'>
): Promise<'right' | 'wrong' | 'missing'> {
  const stat = await fs.promises.stat(file).catch(() => undefined);
  if (!stat?.isFile()) return 'missing';
  if (bytes !== null && stat.size !== bytes) return 'wrong';
  const stamp = `${sha256} ${stat.ino} ${stat.size} ${stat.mtimeMs}`;
  if (checked.get(file) === stamp) return 'right';
  if ((await sumOf(file)) !== sha256) return 'wrong';
  checked.set(file, stamp);
  return 'right';
}

/** sha256 of a file, read piece by piece. */
export async function sumOf(file: string): Promise<string> {
  const hash = crypto.createHash('sha256');
  for await (const piece of fs.createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(piece as Buffer);
  return hash.digest('hex');
}
