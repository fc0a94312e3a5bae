// Just enough of tar (POSIX ustar) for bundles: plain files in folders. A library would do, but this package keeps its dependencies few,
// and a reader that knows nothing but plain files cannot be talked into writing links or paths.
import { createReadStream, createWriteStream } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { GoodpartsError } from '../engine/errors';

const BLOCK = 512;
/** A name is a path of up to four plain names; `@` begins the folder of the backbones. */
const NAME = /^@?[\w-][\w.-]*(\/[\w-][\w.-]*){1,3}$/;

/** Writes the files under a folder, by their relative names, into a .tar.gz. */
export async function pack(folder: string, file: string): Promise<void> {
  await pipeline(Readable.from(archive(folder)), createGzip(), createWriteStream(file));
}

async function* archive(folder: string): AsyncGenerator<Uint8Array> {
  const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries.filter(e => e.isFile())) {
    const place = path.join(entry.parentPath ?? entry.path, entry.name);
    const { size, mtimeMs } = await fs.stat(place);
    yield header(path.relative(folder, place).split(path.sep).join('/'), size, mtimeMs);
    yield* createReadStream(place);
    yield Buffer.alloc(padding(size));
  }
  yield Buffer.alloc(2 * BLOCK);
}

const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

function header(name: string, size: number, mtimeMs: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number) =>
    block.write(
      `${Math.floor(value)
        .toString(8)
        .padStart(length - 1, '0')}\0`,
      at,
      'latin1'
    );
  block.write(name, 0, 100, 'latin1');
  octal(0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(mtimeMs / 1000, 136, 12);
  block.write('        0', 148, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7
  );
  return block;
}

/** What is in a block that begins a file; undefined at the end of the archive. */
function entryOf(block: Buffer): { name: string; size: number } | undefined {
  if (block.every(byte => byte === 0)) return undefined;
  const text = (at: number, length: number) => block.toString('latin1', at, at + length).split('\0')[0];
  const [name, size] = [text(0, 100), parseInt(text(124, 12), 8)];
  const plain = ['0', ''].includes(text(156, 1)) && text(345, 155) === '';
  if (text(257, 5) !== 'ustar' || !plain || !NAME.test(name) || !(size >= 0))
    throw unreadable('it holds something else than the files of a detector');
  return { name, size };
}

export const unreadable = (why: string): GoodpartsError =>
  new GoodpartsError('bundle-unreadable', `This is no bundle of a detector, or a damaged one: ${why}.`);

/**
 * Unpacks what `pack` wrote into an empty folder.
 * @param most bytes that it may take
 * @throws GoodpartsError `bundle-unreadable`, also where it holds anything but plain files in plain folders
 */
export async function unpack(file: string, folder: string, most: number): Promise<void> {
  const source = createReadStream(file);
  const bytes = source.pipe(createGunzip());
  source.once('error', error => bytes.destroy(error));
  try {
    await unpackFrom(new Blocks(bytes), folder, most);
  } catch (error) {
    if (error instanceof GoodpartsError) throw error;
    throw unreadable((error as Error).message);
  } finally {
    bytes.destroy();
    source.destroy();
  }
}

async function unpackFrom(blocks: Blocks, folder: string, most: number): Promise<void> {
  let left = most;
  for (let entry; (entry = entryOf(await blocks.take(BLOCK)));) {
    left -= entry.size;
    if (left < 0) throw unreadable(`it holds more than ${(most / 1e9).toFixed(1)} GB`);
    const place = path.join(folder, entry.name);
    await fs.mkdir(path.dirname(place), { recursive: true });
    const handle = await fs.open(place, 'wx');
    try {
      for (let rest = entry.size; rest > 0;) {
        const piece = await blocks.take(Math.min(rest, 1 << 20));
        await handle.write(piece);
        rest -= piece.length;
      }
    } finally {
      await handle.close();
    }
    await blocks.take(padding(entry.size));
  }
}

/** Takes so many bytes at a time from a stream. */
class Blocks {
  private readonly chunks: AsyncIterator<Buffer>;
  private held: Buffer = Buffer.alloc(0);

  constructor(stream: AsyncIterable<Buffer>) {
    this.chunks = stream[Symbol.asyncIterator]();
  }

  async take(length: number): Promise<Buffer> {
    const parts = [this.held];
    for (let have = this.held.length; have < length;) {
      const { value, done } = await this.chunks.next();
      if (done) throw unreadable('it ends too early');
      parts.push(value);
      have += value.length;
    }
    const all = parts.length === 1 ? parts[0] : Buffer.concat(parts);
    this.held = all.subarray(length);
    return all.subarray(0, length);
  }
}
