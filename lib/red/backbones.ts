import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { importBackbone, type Imported } from '../backbones/import';
import { pullBackbone } from '../backbones/pull';
import { listBackbones, removeBackbone, type ListedBackbone } from '../backbones/shelf';
import { CatalogueEntry, entryOf } from '../engine/catalogue';
import { GoodpartsError } from '../engine/errors';
import { libraryFolder } from '../engine/library';

/** A download that somebody began in the editor, which goes on when the dialog is closed; kept after it failed, to say why. */
interface Begun {
  controller: AbortController;
  error?: string;
}

const begun = new Map<string, Begun>();
const keyOf = (store: string, id: string) => `${path.resolve(store)}\n${id}`;

/** What the dialog shows of a backbone, beside the facts: whether its download can be ended here, and why the last one failed. */
export type ShownBackbone = ListedBackbone & { own: boolean; error?: string };

export async function shownBackbones(store: string): Promise<ShownBackbone[]> {
  return (await listBackbones(store)).map(one => {
    const download = begun.get(keyOf(store, one.id));
    const own = download !== undefined && download.error === undefined;
    // before its first byte it has no lock to be seen by, and after the last one it still holds it
    const state = own ? 'downloading' : one.state;
    return { ...one, state, own, ...(download?.error !== undefined && { error: download.error }) };
  });
}

function known(id: string): CatalogueEntry {
  const entry = entryOf(id);
  if (entry) return entry;
  throw new GoodpartsError('backbone-missing', `There is no backbone "${id}" in the catalogue.`);
}

/** Begins a download and does not wait for its end; `shownBackbones` tells how it goes. */
export function beginPull(id: string, store: string, acceptLicence: boolean, log: (text: string) => void): void {
  const entry = known(id);
  const key = keyOf(store, id);
  const before = begun.get(key);
  if (before && before.error === undefined) return;
  const download: Begun = { controller: new AbortController() };
  begun.set(key, download);
  const { signal } = download.controller;
  pullBackbone(entry, store, { signal, acceptLicence }).then(
    () => begun.delete(key),
    (error: Error) => {
      if (signal.aborted) return void begun.delete(key);
      // where the file belongs is in the dialog already
      download.error = String((error instanceof GoodpartsError && error.details.reason) || error.message);
      log(error.message);
    }
  );
}

/** What has come stays, so that the download can go on later. */
export function cancelPull(id: string, store: string): void {
  begun.get(keyOf(store, id))?.controller.abort();
}

export async function dropBackbone(id: string, store: string, force: boolean): Promise<void> {
  await removeBackbone(id, store, force);
  begun.delete(keyOf(store, id));
}

const LARGEST = 2 ** 31;
const OLD = 3600e3;

/**
 * A file that the browser sends, imported: in a plant without internet it comes on somebody's notebook.
 * @throws GoodpartsError as `importBackbone`
 */
export async function receiveBackbone(
  body: Readable,
  store: string,
  { name, id }: { name: string; id?: string }
): Promise<Imported> {
  const folder = libraryFolder(store);
  await fs.promises.mkdir(folder, { recursive: true });
  await sweep(folder);
  const file = path.join(folder, `.upload-${crypto.randomUUID()}`);
  try {
    await pipeline(body, bounded(), fs.createWriteStream(file));
    return await importBackbone(file, store, { name: path.basename(name), id: id || undefined });
  } finally {
    await fs.promises.rm(file, { force: true });
  }
}

function bounded(): Transform {
  let bytes = 0;
  return new Transform({
    transform(piece: Buffer, _, next) {
      bytes += piece.length;
      next(
        bytes > LARGEST
          ? new GoodpartsError('backbone-import', 'The file is larger than 2 GiB, and no ONNX model is.')
          : null,
        piece
      );
    }
  });
}

/** What a Node-RED that was killed left half received. */
async function sweep(folder: string): Promise<void> {
  for (const name of await fs.promises.readdir(folder)) {
    if (!name.startsWith('.upload-')) continue;
    const file = path.join(folder, name);
    const { mtimeMs } = await fs.promises.stat(file).catch(() => ({ mtimeMs: Infinity }));
    if (Date.now() - mtimeMs > OLD) await fs.promises.rm(file, { force: true });
  }
}
