import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CatalogueEntry, CatalogueFile, filesOf, readCatalogue } from '../engine/catalogue';
import { GoodpartsError } from '../engine/errors';
import { backboneFolder, checkFile, megabytes, missing } from '../engine/library';
import { DownloadError } from './http';
import { Bytes, Lock, lockFolder } from './lock';
import type { Environment } from './proxy';
import { diskReason, dropPart, movePart, partBytes, transfer } from './transfer';

export interface PullOptions {
  signal?: AbortSignal;
  /** all files of the backbone together; also of a download that another process does */
  onProgress?: (bytes: Bytes) => void;
  /** needed for a backbone whose licence has to be read first */
  acceptLicence?: boolean;
  /** where the proxy settings come from; default: the environment of the process */
  env?: Environment;
  /** milliseconds without a byte after which a connection counts as dead */
  patience?: number;
  /** tries without a single new byte after which an address is given up */
  tries?: number;
  /** milliseconds before the second try; twice as long before each further one */
  pause?: number;
}

const LONGEST_PAUSE = 30_000;

/** How much of an entry is wanted; null where the size of a file is unknown. */
export const bytesOf = (entry: CatalogueEntry): number | null =>
  filesOf(entry).reduce<number | null>((sum, { bytes }) => (sum === null || bytes === null ? null : sum + bytes), 0);

/**
 * Downloads a backbone of the catalogue into the store, unless it is there. What was begun before is gone on with. Whoever pulls
 * the same backbone at the same time, here or in another process, waits for this download and finds it done.
 * @returns the folder that holds it, every file of it checked
 * @throws GoodpartsError `backbone-download` with what to do without a network, `store-write`; the reason of `signal`
 */
export async function pullBackbone(entry: CatalogueEntry, store: string, options: PullOptions = {}): Promise<string> {
  const folder = backboneFolder(store, entry.id);
  if (await isComplete(entry, folder)) return folder;
  if (entry.optIn && !options.acceptLicence) throw unaccepted(entry);
  await writable(() => fs.mkdir(folder, { recursive: true }), folder);
  const { signal, onProgress } = options;
  const lock = await writable(() => lockFolder(folder, { signal, onWait: onProgress }), folder);
  try {
    await writable(() => pullFiles(entry, folder, lock, options), folder);
  } catch (error) {
    if (!(error instanceof DownloadError)) throw error;
    const [file] = filesOf(entry);
    const offline = missing(entry, file, store);
    throw new GoodpartsError('backbone-download', `${error.message} ${offline.message}`, {
      ...offline.details,
      reason: error.message
    });
  } finally {
    await lock.release();
  }
  return folder;
}

const unaccepted = ({ id, licence, caveat }: CatalogueEntry): GoodpartsError =>
  new GoodpartsError(
    'backbone-download',
    `${id} is under the ${licence}, which has to be accepted first (--accept-licence). ${readCatalogue().caveats[caveat]}`,
    { licence }
  );

async function isComplete(entry: CatalogueEntry, folder: string): Promise<boolean> {
  for (const file of filesOf(entry))
    if ((await checkFile(path.join(folder, file.name), file)) !== 'right') return false;
  return true;
}

/** The model comes last: where it is, the rest is, too. */
async function pullFiles(entry: CatalogueEntry, folder: string, lock: Lock, options: PullOptions): Promise<void> {
  const total = bytesOf(entry);
  let before = 0;
  for (const file of filesOf(entry).reverse()) {
    const place = path.join(folder, file.name);
    const onBytes = (bytes: number) => {
      const progress = { done: before + bytes, total };
      lock.report(progress);
      options.onProgress?.(progress);
    };
    if ((await checkFile(place, file)) !== 'right') {
      await checkRoom(folder, place, file);
      await pullFile(file, place, lock, onBytes, options);
    }
    before += file.bytes ?? 0;
  }
}

async function pullFile(
  file: CatalogueFile,
  place: string,
  lock: Lock,
  onBytes: (bytes: number) => void,
  options: PullOptions
): Promise<void> {
  const failures: string[] = [];
  for (const url of [file.url, ...file.mirrors]) {
    try {
      await pullFrom(url, file, place, onBytes, options);
      if (!(await lock.held())) throw new DownloadError('Another process has taken over this download.', false);
      await movePart(place);
      return;
    } catch (error) {
      if (!(error instanceof DownloadError)) throw error;
      failures.push(error.message);
    }
  }
  throw new DownloadError([...new Set(failures)].join(' '), false);
}

/** Until the part is whole and right. What arrives is progress, so only tries without any count. */
async function pullFrom(
  url: string,
  file: CatalogueFile,
  place: string,
  onBytes: (bytes: number) => void,
  { signal, env = process.env, patience = 30_000, tries = 5, pause = 1000 }: PullOptions
): Promise<void> {
  let resumed = (await partBytes(place)) > 0;
  for (let failed = 0; ;) {
    const before = await partBytes(place);
    try {
      const part = await transfer(url, place, file, { signal, onBytes, env, patience });
      if ((await checkFile(part, file)) === 'right') return;
      await dropPart(place);
      const message = `${new URL(url).host} gave other bytes than expected: the checksum is wrong.`;
      // the beginning may have been another file's; one try from the start tells
      if (!resumed) throw new DownloadError(message, false);
      resumed = false;
    } catch (error) {
      if (!(error instanceof DownloadError) || !error.again) throw error;
      failed = (await partBytes(place)) > before ? 0 : failed + 1;
      if (failed >= tries) throw error;
      resumed = true;
      await sleep(Math.min(LONGEST_PAUSE, pause * 2 ** Math.max(0, failed - 1)), undefined, { signal });
    }
  }
}

/** A disk that is known to be too small is said before the first byte and not after the last. */
async function checkRoom(folder: string, place: string, { bytes }: CatalogueFile): Promise<void> {
  const { bavail, bsize, blocks } = await fs.statfs(folder);
  const needed = (bytes ?? 0) - (await partBytes(place));
  // some network file systems say nothing
  if (blocks === 0 || needed <= bavail * bsize) return;
  throw new GoodpartsError(
    'store-write',
    `${folder} has ${megabytes(bavail * bsize)} MB free, and the download needs ${megabytes(needed)} MB.`
  );
}

/** What the disk refuses is said with the folder it is about. */
export async function writable<T>(act: () => Promise<T>, folder: string): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const { code, name } = error as NodeJS.ErrnoException;
    if (error instanceof GoodpartsError || name === 'AbortError' || !code) throw error;
    throw new GoodpartsError('store-write', `${folder} cannot be written: ${diskReason(error as Error)}.`);
  }
}
