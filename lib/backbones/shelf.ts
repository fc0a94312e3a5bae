import fs from 'node:fs/promises';
import path from 'node:path';
import { CatalogueEntry, entryOf, filesOf, isBackboneId, readCatalogue } from '../engine/catalogue';
import { GoodpartsError } from '../engine/errors';
import { backboneFolder, IMPORTED, importedSum, libraryFolder } from '../engine/library';
import { DetectorStore } from '../engine/store';
import type { DetectorInfo } from '../engine/types';
import { lockedBytes } from './lock';
import { bytesOf } from './pull';
import { partBytes } from './transfer';

/** `begun`: a download broke off and can go on. `damaged`: a file has not the length that it should have. */
export type BackboneState = 'there' | 'missing' | 'begun' | 'downloading' | 'damaged';

/** One line of `goodparts models list`. */
export interface ListedBackbone {
  id: string;
  source: 'catalogue' | 'imported';
  state: BackboneState;
  /** bytes that are there of `bytes`, while they come or once they stopped coming */
  done: number;
  /** null where nobody has measured it */
  bytes: number | null;
  /** of an imported backbone nobody knows it */
  licence?: string;
  /** key in the catalogue's caveats */
  caveat?: string;
  optIn?: boolean;
  default?: boolean;
  folder: string;
  files: { name: string; url?: string; sha256: string; bytes: number | null }[];
}

/** What the catalogue has and what was imported into the store. Looks at lengths only; checksums are compared before a use. */
export async function listBackbones(store: string): Promise<ListedBackbone[]> {
  const listed = await Promise.all(readCatalogue().catalogue.map(entry => listEntry(entry, store)));
  const folders = await fs.readdir(libraryFolder(store)).catch(() => []);
  const others = folders.sort().filter(id => isBackboneId(id) && !entryOf(id));
  const imported = await Promise.all(others.map(id => listImported(id, store)));
  return [...listed, ...imported.flatMap(one => one ?? [])];
}

const sizeOf = (file: string): Promise<number | undefined> =>
  fs.stat(file).then(
    stat => stat.size,
    () => undefined
  );

async function listEntry(entry: CatalogueEntry, store: string): Promise<ListedBackbone> {
  const folder = backboneFolder(store, entry.id);
  const files = filesOf(entry);
  const sizes = await Promise.all(files.map(file => sizeOf(path.join(folder, file.name))));
  const parts = await Promise.all(files.map(file => partBytes(path.join(folder, file.name))));
  const downloading = await lockedBytes(folder);
  const done = files.reduce((sum, _, i) => sum + (sizes[i] ?? parts[i]), 0);
  const wrong = files.some(({ bytes }, i) => sizes[i] !== undefined && bytes !== null && sizes[i] !== bytes);
  let state: BackboneState = done > 0 ? 'begun' : 'missing';
  if (wrong) state = 'damaged';
  else if (sizes.every(size => size !== undefined)) state = 'there';
  else if (downloading) state = 'downloading';
  const { id, licence, caveat, optIn, default: preferred } = entry;
  return {
    id,
    source: 'catalogue',
    state,
    done: state === 'downloading' ? Math.max(done, downloading!.done) : done,
    bytes: bytesOf(entry) ?? (state === 'there' ? done : null),
    licence,
    caveat,
    ...(optIn && { optIn }),
    ...(preferred && { default: preferred }),
    folder,
    files: files.map(({ name, url, sha256, bytes }) => ({ name, url, sha256, bytes }))
  };
}

async function listImported(id: string, store: string): Promise<ListedBackbone | undefined> {
  const sha256 = await importedSum(store, id);
  if (sha256 === undefined) return undefined;
  const folder = backboneFolder(store, id);
  const bytes = (await sizeOf(path.join(folder, IMPORTED))) ?? null;
  const state = bytes === null ? 'damaged' : 'there';
  return { id, source: 'imported', state, done: bytes ?? 0, bytes, folder, files: [{ name: IMPORTED, sha256, bytes }] };
}

/** The detectors of a store that have a version that was fitted with this backbone. */
export async function usersOf(id: string, store: string): Promise<string[]> {
  const detectors = await new DetectorStore(path.resolve(store)).list();
  const needs = ({ settings }: DetectorInfo): boolean => [settings.backbone, settings.secondBackbone].includes(id);
  return [...new Set(detectors.filter(needs).map(({ name }) => name))];
}

/**
 * Removes a backbone from the store, or what is left of its download.
 * @param force also where detectors need it
 * @throws GoodpartsError `backbone-missing`, `backbone-in-use` naming the detectors, or the download that is under way
 */
export async function removeBackbone(id: string, store: string, force = false): Promise<void> {
  const folder = backboneFolder(store, id);
  if (!(await fs.stat(folder).catch(() => undefined)))
    throw new GoodpartsError('backbone-missing', `There is no backbone ${id} in ${libraryFolder(store)}.`);
  if (await lockedBytes(folder))
    throw new GoodpartsError('backbone-in-use', `The backbone ${id} is being downloaded; end that first.`);
  const users = force ? [] : await usersOf(id, store);
  if (users.length > 0)
    throw new GoodpartsError(
      'backbone-in-use',
      `The backbone ${id} is needed by ${users.join(', ')}: fitted with it, they cannot score without it. Delete them first, or force it.`
    );
  await fs.rm(folder, { recursive: true, force: true });
}
