import crypto from 'node:crypto';
import { readSync } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { GoodpartsError } from './errors';

/** How the working files of fits begin: hidden, beside the versions of the detector. */
export const WORK_PREFIX = '.fitting-';
/** Bytes that are read before other events get through. */
const SLICE = 2 ** 22;

/**
 * Patch embeddings of a fit under way, float32 rows of `dimensions` numbers, in a file beside the detector's versions: what is
 * learned from many pictures need not fit into memory. The file has no name while it is used (it is unlinked as soon as it is
 * open), so the system frees it however the process ends; where that is not possible it is removed at the end, and what a kill left is
 * swept by the next fit. All positions are in rows.
 */
export class RowFile {
  private rows = 0;
  private closed = false;

  private constructor(
    private readonly handle: fs.FileHandle,
    private readonly file: string,
    private named: boolean,
    readonly dimensions: number
  ) {}

  /** @throws GoodpartsError `store-write` */
  static async create(folder: string, dimensions: number): Promise<RowFile> {
    const file = path.join(folder, WORK_PREFIX + crypto.randomUUID());
    try {
      await fs.mkdir(folder, { recursive: true });
      await sweep(folder);
      const handle = await fs.open(file, 'wx+', 0o600);
      const named = await fs.unlink(file).then(
        () => false,
        () => true
      );
      return new RowFile(handle, file, named, dimensions);
    } catch (error) {
      throw unwritable(file, error as NodeJS.ErrnoException);
    }
  }

  get count(): number {
    return this.rows;
  }

  append(rows: Float32Array): Promise<void> {
    return this.write(this.rows, rows);
  }

  /** Writes rows at a position, which may lie at the end. @throws GoodpartsError `store-write`, as when the disk is full */
  async write(at: number, rows: Float32Array): Promise<void> {
    this.check();
    const bytes = Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength);
    try {
      for (let done = 0; done < bytes.length;) {
        const { bytesWritten } = await this.handle.write(bytes, done, bytes.length - done, at * this.rowBytes + done);
        done += bytesWritten;
      }
    } catch (error) {
      this.check();
      throw unwritable(this.file, error as NodeJS.ErrnoException);
    }
    this.rows = Math.max(this.rows, at + rows.length / this.dimensions);
  }

  /** `count` rows from a position on; into `rows`, where it is given. */
  async read(from: number, count: number, rows = new Float32Array(count * this.dimensions)): Promise<Float32Array> {
    this.check();
    const bytes = Buffer.from(rows.buffer, rows.byteOffset, count * this.rowBytes);
    for (let done = 0; done < bytes.length;) {
      const { bytesRead } = await this.handle
        .read(bytes, done, bytes.length - done, from * this.rowBytes + done)
        .catch((error: NodeJS.ErrnoException) => {
          this.check();
          throw unreadable(this.file, error.message);
        });
      if (!bytesRead) throw unreadable(this.file, 'it is shorter than what was written');
      done += bytesRead;
    }
    return rows;
  }

  /**
   * Rows by their positions, in that order; neighbours in the file are read together. A coreset asks for a million single rows, which the
   * system still has in its cache: read directly each takes 2 us, through Node's thread pool 12 us and more. Events get through in between.
   */
  async gather(
    positions: ArrayLike<number>,
    rows: Float32Array = new Float32Array(positions.length * this.dimensions)
  ): Promise<Float32Array> {
    const bytes = Buffer.from(rows.buffer, rows.byteOffset, positions.length * this.rowBytes);
    const step = Math.max(1, Math.floor(SLICE / this.rowBytes));
    let read = 0;
    for (let i = 0; i < positions.length;) {
      let count = 1;
      while (positions[i + count] === positions[i] + count && count < step) count++;
      this.check();
      this.readNow(bytes.subarray(i * this.rowBytes, (i + count) * this.rowBytes), positions[i] * this.rowBytes);
      i += count;
      read += count;
      if (read >= step) {
        read = 0;
        await new Promise(resolve => setImmediate(resolve));
      }
    }
    return rows;
  }

  /** Drops all rows but those at the ascending `positions`, which move up. */
  async keep(positions: Int32Array): Promise<void> {
    const step = Math.max(1, Math.floor(2 ** 22 / this.rowBytes));
    for (let at = 0; at < positions.length; at += step)
      await this.write(at, await this.gather(positions.subarray(at, at + step)));
    this.rows = positions.length;
    await this.handle.truncate(this.rows * this.rowBytes);
  }

  /** Removes the file. Reads and writes after that are errors. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.handle.close().catch(() => undefined);
    if (this.named) await fs.rm(this.file, { force: true }).catch(() => undefined);
  }

  private readNow(bytes: Buffer, from: number): void {
    let read: number;
    try {
      read = readSync(this.handle.fd, bytes, 0, bytes.length, from);
    } catch (error) {
      throw unreadable(this.file, (error as Error).message);
    }
    if (read < bytes.length) throw unreadable(this.file, 'it is shorter than what was written');
  }

  private get rowBytes(): number {
    return this.dimensions * Float32Array.BYTES_PER_ELEMENT;
  }

  private check(): void {
    if (this.closed) throw new GoodpartsError('fit-aborted', 'The fit was stopped.');
  }
}

/** Removes what a killed fit left an hour ago or more; a file that is in use elsewhere is younger, or has no name. */
async function sweep(folder: string): Promise<void> {
  for (const entry of await fs.readdir(folder)) {
    if (!entry.startsWith(WORK_PREFIX)) continue;
    const file = path.join(folder, entry);
    const { mtimeMs } = await fs.stat(file).catch(() => ({ mtimeMs: Infinity }));
    if (Date.now() - mtimeMs > 3600e3) await fs.rm(file, { force: true }).catch(() => undefined);
  }
}

function unwritable(file: string, error: NodeJS.ErrnoException): GoodpartsError {
  const folder = path.dirname(file);
  const advice =
    error.code === 'ENOSPC' || error.code === 'EDQUOT'
      ? 'The disk is full: free some space there, or fit with fewer images or a smaller memory limit.'
      : 'Check that the folder can be written.';
  return new GoodpartsError(
    'store-write',
    `The fit cannot write its working file in ${folder}: ${error.message}. ${advice}`,
    {
      cause: error.code ?? ''
    }
  );
}

function unreadable(file: string, why: string): GoodpartsError {
  return new GoodpartsError('store-write', `The fit cannot read its working file in ${path.dirname(file)}: ${why}.`);
}
