import crypto from 'node:crypto';
import { constants } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import {
  CatalogueEntry,
  CatalogueFile,
  entryOf,
  fileOfSum,
  isBackboneId,
  readCatalogue,
  filesOf
} from '../engine/catalogue';
import { GoodpartsError } from '../engine/errors';
import { backboneFolder, checkFile, IMPORTED, importedSum, libraryFolder, sumOf, SUMS } from '../engine/library';
import { pictureInput } from '../engine/onnx/cut';
import { decodeModel } from '../engine/onnx/proto';
import { HEAD_BYTES, impostor } from './impostor';
import { lockFolder } from './lock';
import { writable } from './pull';

export interface Imported {
  id: string;
  file: string;
  sha256: string;
  bytes: number;
  /** files of the same backbone that are still to come */
  missing: string[];
}

export interface ImportOptions {
  /** what to call a backbone that the catalogue does not know; default: the file's name without .onnx */
  id?: string;
  /** what the file is called where `file` is a copy under another name */
  name?: string;
}

const LARGEST = 2 ** 31 - 1;

const refuse = (message: string) => new GoodpartsError('backbone-import', message);

/**
 * Takes a file into the store as a backbone: one of the catalogue by its checksum, whatever the file is called, else any ONNX
 * network under an id of its own.
 * @throws GoodpartsError `backbone-import` saying what the file is instead, `name-invalid`, `path-missing`, `store-write`
 */
export async function importBackbone(file: string, store: string, { id, name }: ImportOptions = {}): Promise<Imported> {
  const shown = name ?? path.basename(file);
  const { size, head } = await look(file, shown);
  const what = impostor(head);
  if (what) throw refuse(`${shown} is ${what}.`);
  const sha256 = await sumOf(file);
  const found = fileOfSum(sha256);
  if (found) {
    if (id !== undefined && id !== found.entry.id)
      throw refuse(`${shown} is the backbone ${found.entry.id} of the catalogue; it keeps that name.`);
    return take(file, store, found.entry.id, found.file.name, { sha256, size, entry: found.entry });
  }
  const own = ownId(id, shown, sha256);
  if (size > LARGEST) throw refuse(`${shown} is larger than 2 GiB, and no ONNX model is.`);
  checkModel(await fs.readFile(file), shown);
  return take(file, store, own, IMPORTED, { sha256, size });
}

async function look(file: string, shown: string): Promise<{ size: number; head: Buffer }> {
  try {
    const handle = await fs.open(file);
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) throw new GoodpartsError('path-missing', `${shown} cannot be read: it is not a file.`);
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
      return { size: stat.size, head: buffer.subarray(0, bytesRead) };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof GoodpartsError) throw error;
    throw new GoodpartsError('path-missing', `${shown} cannot be read (${(error as NodeJS.ErrnoException).code}).`);
  }
}

/** An id that is free for a file that the catalogue does not know. */
function ownId(given: string | undefined, shown: string, sha256: string): string {
  const meant = given === undefined ? meantEntry(shown) : entryOf(given);
  if (meant)
    throw refuse(
      `${shown} is called like the backbone ${meant.id} of the catalogue, but is another file: its sha256 is ${sha256}, and not ` +
        `${filesOf(meant)[0].sha256}. Copy it again if it is meant to be that one, else give it an id of its own.`
    );
  const id = given ?? shown.replace(/\.onnx$/i, '');
  if (given === undefined && !isBackboneId(id))
    throw refuse(
      `${shown} is not in the catalogue: give it an id of 1 to 64 letters, digits, dots, dashes and underscores.`
    );
  return id;
}

/** The entry that a file's name promises: by its id, or, where only one has it, by the publisher's name. */
function meantEntry(shown: string): CatalogueEntry | undefined {
  const named = readCatalogue().catalogue.filter(entry =>
    filesOf(entry).some((file: CatalogueFile) => file.name === shown && shown !== IMPORTED)
  );
  return entryOf(shown.replace(/\.onnx$/i, '')) ?? named[0];
}

function checkModel(bytes: Buffer, shown: string): void {
  try {
    pictureInput(decodeModel(bytes).graph, shown);
  } catch (error) {
    if (!(error instanceof GoodpartsError)) throw error;
    throw refuse(error.message.startsWith(shown) ? error.message : `${shown}: ${error.message}`);
  }
}

interface Known {
  sha256: string;
  size: number;
  entry?: CatalogueEntry;
}

/** Copies beside, compares what the disk has with what was read, and renames into place. */
async function take(
  file: string,
  store: string,
  id: string,
  name: string,
  { sha256, size, entry }: Known
): Promise<Imported> {
  const folder = backboneFolder(store, id);
  await checkCase(store, id);
  const place = path.join(folder, name);
  await writable(() => fs.mkdir(folder, { recursive: true }), folder);
  const lock = await writable(() => lockFolder(folder), folder);
  const beside = `${place}.${crypto.randomUUID()}`;
  try {
    await writable(async () => {
      await fs.copyFile(file, beside, constants.COPYFILE_FICLONE);
      await sync(beside);
      if ((await checkFile(beside, { sha256, bytes: size })) !== 'right')
        throw refuse(`The copy of ${file} went wrong.`);
      if (!entry) await fs.writeFile(path.join(folder, SUMS), `${sha256}  ${name}\n`);
      await fs.rename(beside, place);
    }, folder);
  } finally {
    await fs.rm(beside, { force: true }).catch(() => undefined);
    await lock.release();
  }
  return { id, file: place, sha256, bytes: size, missing: entry ? await stillMissing(entry, folder) : [] };
}

async function sync(file: string): Promise<void> {
  const handle = await fs.open(file, 'r+');
  await handle.sync().finally(() => handle.close());
}

/** Where A and a are the same folder, a new id must not write into the folder of another one. */
async function checkCase(store: string, id: string): Promise<void> {
  const ids = await fs.readdir(libraryFolder(store)).catch(() => []);
  const other = ids.find(one => one !== id && one.toLowerCase() === id.toLowerCase());
  if (other && (await importedSum(store, other)))
    throw refuse(`There is a backbone ${other} already; take another id.`);
}

async function stillMissing(entry: CatalogueEntry, folder: string): Promise<string[]> {
  const files = filesOf(entry);
  const states = await Promise.all(files.map(file => checkFile(path.join(folder, file.name), file)));
  return files.flatMap((file, i) => (states[i] === 'right' ? [] : [file.name]));
}
