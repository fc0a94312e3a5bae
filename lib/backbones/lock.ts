import crypto from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Bytes that are there, and that are wanted where that is known. */
export interface Bytes {
  done: number;
  total: number | null;
}

/** What the lock file of a folder says: who downloads into it, and how far that is. */
interface Holder extends Bytes {
  token: string;
  pid: number;
  host: string;
}

export interface Lock {
  /** what those who wait get to see; written at the next beat */
  report(bytes: Bytes): void;
  /** whether it is still this lock: a process that slept for minutes may have lost it */
  held(): Promise<boolean>;
  release(): Promise<void>;
}

export interface LockOptions {
  signal?: AbortSignal;
  /** called while another process or node has the lock */
  onWait?: (bytes: Bytes) => void;
}

const NAME = '.lock';
const BEAT = 1000;
const POLL = 250;
/** A lock that did not change for so long belongs to nobody any more: its process is gone, or on a machine that is. */
const STALE = 20_000;

/** Locks of this process: another one with the same number, as in a container that was started anew, is no holder. */
const mine = new Set<string>();

/** Always as long: a beat is one write over the last one, of which a reader sees all or nothing. */
const text = (holder: Holder): string => JSON.stringify(holder).padEnd(512);

const fileOf = (folder: string) => path.join(folder, NAME);

async function read(folder: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await fs.readFile(fileOf(folder), 'utf8')) as Holder;
  } catch {
    return undefined; // none, or just being written
  }
}

/** Whether the holder is surely gone; a process on another machine shows that only by its silence. */
function isGone({ token, pid, host }: Holder): boolean {
  if (host !== os.hostname()) return false;
  if (pid === process.pid) return !mine.has(token);
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** How far the download into a folder is; undefined where nobody downloads. */
export async function lockedBytes(folder: string): Promise<Bytes | undefined> {
  const holder = await read(folder);
  if (!holder || isGone(holder)) return undefined;
  const { mtimeMs } = await fs.stat(fileOf(folder)).catch(() => ({ mtimeMs: 0 }));
  return Date.now() - mtimeMs < STALE ? { done: holder.done, total: holder.total } : undefined;
}

/**
 * Waits until nobody else holds the folder's lock, and takes it. One lock at a time over all processes that see the folder; the
 * lock of a process that died is taken over.
 */
export async function lockFolder(folder: string, { signal, onWait }: LockOptions = {}): Promise<Lock> {
  let [seen, since] = ['', performance.now()];
  for (;;) {
    signal?.throwIfAborted();
    const lock = await take(folder);
    if (lock) return lock;
    const holder = await read(folder);
    const { mtimeMs } = await fs.stat(fileOf(folder)).catch(() => ({ mtimeMs: 0 }));
    // the clock of another machine may be wrong, so that silence is measured with the own one
    const now = `${holder?.token} ${mtimeMs}`;
    if (now !== seen) [seen, since] = [now, performance.now()];
    if ((holder && isGone(holder)) || performance.now() - since > STALE) await breakLock(folder, holder?.token);
    else {
      if (holder) onWait?.({ done: holder.done, total: holder.total });
      await sleep(POLL, undefined, { signal });
    }
  }
}

async function take(folder: string): Promise<Lock | undefined> {
  const token = crypto.randomUUID();
  const holder: Holder = { token, pid: process.pid, host: os.hostname(), done: 0, total: null };
  mine.add(token);
  try {
    await fs.writeFile(fileOf(folder), text(holder), { flag: 'wx' });
  } catch (error) {
    mine.delete(token);
    // Windows says EPERM while a file is being deleted
    if (['EEXIST', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
  return held(folder, holder);
}

function held(folder: string, holder: Holder): Lock {
  const isMine = async () => (await read(folder))?.token === holder.token;
  let writing = Promise.resolve();
  const beat = () => {
    writing = writing
      .then(async () => (await isMine()) && fs.writeFile(fileOf(folder), text(holder), { flag: 'r+' }))
      .then(
        () => {},
        () => {} // the next beat may work
      );
  };
  const timer = setInterval(beat, BEAT);
  return {
    report: bytes => void Object.assign(holder, bytes),
    held: isMine,
    release: async () => {
      clearInterval(timer);
      await writing;
      if (await isMine()) await fs.rm(fileOf(folder), { force: true });
      mine.delete(holder.token);
    }
  };
}

/** Only one of those who wait breaks a lock, and only the one it meant: another may have a new one by now. */
async function breakLock(folder: string, token: string | undefined): Promise<void> {
  const guard = `${fileOf(folder)}.break`;
  try {
    await fs.writeFile(guard, '', { flag: 'wx' });
  } catch {
    const { mtimeMs } = await fs.stat(guard).catch(() => ({ mtimeMs: Infinity }));
    if (Date.now() - mtimeMs > STALE) await fs.rm(guard, { force: true });
    return void (await sleep(POLL));
  }
  try {
    if ((await read(folder))?.token === token) await fs.rm(fileOf(folder), { force: true });
  } finally {
    await fs.rm(guard, { force: true });
  }
}
