import type { IncomingMessage } from 'node:http';
import { constants } from 'node:fs';
import fs from 'node:fs/promises';
import type { CatalogueFile } from '../engine/catalogue';
import { megabytes } from '../engine/library';
import { DownloadError, get, reasonOf } from './http';
import { HEAD_BYTES, impostor } from './impostor';
import type { Environment } from './proxy';

export interface TransferOptions {
  signal?: AbortSignal;
  onBytes?: (done: number) => void;
  env: Environment;
  /** milliseconds without a byte after which a connection counts as dead */
  patience: number;
}

/** Nothing that is larger can be a backbone: ONNX models end at 2 GiB. */
const LARGEST = 2 ** 31;

/** What was begun and not finished: `<file>.part`, and beside it which version of which address it is the beginning of. */
const partOf = (file: string) => `${file}.part`;
const tagOf = (file: string) => `${file}.part.tag`;

export const partBytes = (file: string): Promise<number> =>
  fs.stat(partOf(file)).then(
    stat => stat.size,
    () => 0
  );

export async function dropPart(file: string): Promise<void> {
  await Promise.all([partOf(file), tagOf(file)].map(one => fs.rm(one, { force: true })));
}

/** The part becomes the file. */
export async function movePart(file: string): Promise<void> {
  await fs.rename(partOf(file), file);
  await fs.rm(tagOf(file), { force: true });
}

/**
 * One try to get (the rest of) a file into `<file>.part`. What came so far stays there whatever happens, so that the next try
 * goes on from it; whether the whole is right is for the caller to check.
 * @returns the path of the part, once it is as long as it should be
 * @throws DownloadError
 */
export async function transfer(url: string, file: string, wanted: CatalogueFile, o: TransferOptions): Promise<string> {
  const have = await usablePart(file, wanted);
  if (have > 0 && have === wanted.bytes) return partOf(file);
  const headers = {
    'Accept-Encoding': 'identity',
    'User-Agent': 'goodparts',
    ...(await resumeHeaders(url, file, have))
  };
  const answer = await get(url, { ...o, headers });
  try {
    if (isWhole(answer, have) && wanted.bytes === null) return partOf(file);
    const start = startOf(answer, have, url);
    if (start === undefined) {
      await dropPart(file);
      throw new DownloadError(`${hostName(url)} cannot go on where the download stopped; it has to start over.`, true);
    }
    await checkAnswer(answer, start, wanted, url);
    await write(answer, file, start, wanted, { ...o, url });
  } finally {
    answer.destroy();
  }
  const bytes = await partBytes(file);
  if (wanted.bytes !== null && bytes < wanted.bytes)
    throw new DownloadError(`${hostName(url)} ended after ${mb(bytes)} of ${mb(wanted.bytes)}.`, true);
  return partOf(file);
}

const hostName = (url: string): string => new URL(url).host;
const mb = (bytes: number): string => `${megabytes(bytes)} MB`;

/** A part that is longer than the file is no beginning of it. */
async function usablePart(file: string, { bytes }: CatalogueFile): Promise<number> {
  const have = await partBytes(file);
  if (have <= (bytes ?? LARGEST)) return have;
  await dropPart(file);
  return 0;
}

/** The rest only, as long as the file behind the address is the one that was begun; otherwise the server sends all of it. */
async function resumeHeaders(url: string, file: string, have: number): Promise<Record<string, string>> {
  if (have === 0) return {};
  const [from, tag] = (await fs.readFile(tagOf(file), 'utf8').catch(() => '')).split('\n');
  const range = { Range: `bytes=${have}-` };
  // of a mirror, or without a strong tag, the checksum at the end decides
  return from === url && tag ? { ...range, 'If-Range': tag } : range;
}

/** A weak tag names no bytes, so it says nothing about where to go on. */
async function remember(file: string, url: string, { headers: { etag } }: IncomingMessage): Promise<void> {
  const tag = etag && !etag.startsWith('W/') ? etag : '';
  await fs.writeFile(tagOf(file), `${url}\n${tag}\n`);
}

/** The server says that the part is all there is. */
const isWhole = ({ statusCode, headers }: IncomingMessage, have: number): boolean =>
  statusCode === 416 && headers['content-range'] === `bytes */${have}`;

/** At which byte the body begins; undefined where the server has nothing beyond what is here. */
function startOf({ statusCode, headers }: IncomingMessage, have: number, url: string): number | undefined {
  if (statusCode === 200) return 0;
  if (statusCode === 416 && have > 0) return undefined;
  if (statusCode !== 206)
    throw new DownloadError(`${hostName(url)} answers ${statusCode}${MEANING[statusCode!] ?? ''}.`, again(statusCode!));
  const start = Number(/^bytes (\d+)-/.exec(headers['content-range'] ?? '')?.[1] ?? NaN);
  if (start === have) return start;
  return undefined;
}

const MEANING: Record<number, string> = {
  401: ' (it wants a login)',
  403: ' (it refuses)',
  404: ' (the file is not there any more)',
  407: ' (the proxy wants a name and a password)',
  410: ' (the file is not there any more)'
};
const again = (status: number): boolean => status >= 500 || status === 408 || status === 429;

/** What the head of an answer says about the file's length must not contradict what is known. */
async function checkAnswer(answer: IncomingMessage, start: number, wanted: CatalogueFile, url: string): Promise<void> {
  const { headers } = answer;
  const length = headers['content-encoding'] ? NaN : Number(headers['content-length'] ?? NaN);
  const whole = start + length;
  if (wanted.bytes === null ? !(whole > LARGEST) : Number.isNaN(whole) || whole === wanted.bytes) return;
  // a page of a proxy or a pointer says more than its length does
  const what = start === 0 ? impostor(await headOf(answer)) : undefined;
  throw new DownloadError(
    what
      ? `${hostName(url)} gave ${what}.`
      : `${hostName(url)} offers ${mb(whole)}, and the file has ${mb(wanted.bytes ?? LARGEST)}: it is another one.`,
    false
  );
}

async function headOf(answer: IncomingMessage): Promise<Buffer> {
  const timer = setTimeout(() => answer.destroy(), 5000);
  const pieces: Buffer[] = [];
  try {
    for await (const piece of answer) {
      pieces.push(piece as Buffer);
      if (pieces.reduce((sum, { length }) => sum + length, 0) >= HEAD_BYTES) break;
    }
  } catch {
    // what came is all there is
  }
  clearTimeout(timer);
  return Buffer.concat(pieces);
}

async function write(
  answer: IncomingMessage,
  file: string,
  start: number,
  wanted: CatalogueFile,
  { signal, onBytes, patience, url }: TransferOptions & { url: string }
): Promise<void> {
  const handle = await fs.open(partOf(file), constants.O_RDWR | constants.O_CREAT);
  const stop = (error: Error) => void answer.destroy(error);
  const stalled = () => stop(new DownloadError(`${hostName(url)} sent nothing for ${patience / 1000} s.`, true));
  const abort = () => stop(signal!.reason as Error);
  let timer = setTimeout(stalled, patience);
  signal?.addEventListener('abort', abort, { once: true });
  if (signal?.aborted) abort();
  let at = start;
  try {
    for await (const piece of answer as AsyncIterable<Buffer>) {
      clearTimeout(timer);
      timer = setTimeout(stalled, patience);
      if (at === 0) {
        // only now is what was there before worth less than what comes
        refuseImpostor(piece, url);
        await handle.truncate(0);
        await remember(file, url, answer);
      }
      if (at + piece.length > (wanted.bytes ?? LARGEST)) {
        await handle.truncate(0);
        throw new DownloadError(
          `${hostName(url)} sends more than ${mb(wanted.bytes ?? LARGEST)}: it is another file.`,
          false
        );
      }
      await handle.write(piece, 0, piece.length, at);
      at += piece.length;
      onBytes?.(at);
    }
    await handle.sync();
  } catch (error) {
    signal?.throwIfAborted();
    throw asDownloadError(error as NodeJS.ErrnoException, url);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    await handle.close();
  }
}

function refuseImpostor(head: Buffer, url: string): void {
  const what = impostor(head);
  if (what) throw new DownloadError(`${hostName(url)} gave ${what}.`, false);
}

const DISK = new Set(['open', 'write', 'fsync', 'ftruncate']);

/** What the disk says is no fault of the connection, and stays what it is. */
function asDownloadError(error: NodeJS.ErrnoException, url: string): Error {
  if (error instanceof DownloadError || DISK.has(error.syscall ?? '')) return error;
  return new DownloadError(`The connection to ${hostName(url)} broke off: ${reasonOf(error)}.`, true);
}

export const diskReason = ({ code, message }: NodeJS.ErrnoException): string =>
  code === 'ENOSPC' || code === 'EDQUOT' ? 'the disk is full' : message;
