import fs from 'node:fs/promises';
import path from 'node:path';
import { GoodpartsError } from '../errors';

/**
 * Pictures as a network is given them, uint8 [3, H, W] each, one after the other in a file: a training goes through them hundreds of times,
 * and they need not fit into memory.
 */
export class Gallery {
  private stored: number;

  private constructor(
    private readonly handle: fs.FileHandle,
    private readonly bytes: number,
    size: number
  ) {
    this.stored = Math.floor(size / bytes);
  }

  /** Opens the file; an existing one holds the pictures that were put into it. @throws GoodpartsError `store-write` */
  static async open(file: string, { width, height }: { width: number; height: number }): Promise<Gallery> {
    try {
      await fs.mkdir(path.dirname(file), { recursive: true });
      const handle = await fs.open(file, 'a+', 0o600);
      return new Gallery(handle, 3 * width * height, (await handle.stat()).size);
    } catch (error) {
      throw unwritable(file, error as Error);
    }
  }

  get count(): number {
    return this.stored;
  }

  /** @param picture RGB in 0..1, [3, H, W]; it is rounded to grey levels. @throws GoodpartsError `store-write` */
  async add(picture: Float32Array): Promise<void> {
    // a plain loop, here and below: `from` with a function takes 30 times as long, for each picture of each step
    const levels = new Uint8Array(picture.length);
    for (let i = 0; i < levels.length; i++) levels[i] = Math.min(255, Math.max(0, Math.round(255 * picture[i])));
    try {
      await this.handle.appendFile(levels);
    } catch (error) {
      throw unwritable('its pictures', error as Error);
    }
    this.stored++;
  }

  /** RGB in 0..1, [3, H, W]. */
  async get(index: number): Promise<Float32Array> {
    const levels = new Uint8Array(this.bytes);
    const { bytesRead } = await this.handle.read(levels, 0, this.bytes, index * this.bytes);
    if (bytesRead < this.bytes)
      throw new GoodpartsError('store-write', `The training cannot read picture ${index + 1} of its own again.`);
    const picture = new Float32Array(this.bytes);
    for (let i = 0; i < picture.length; i++) picture[i] = levels[i] / 255;
    return picture;
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

export const unwritable = (what: string, error: Error): GoodpartsError =>
  new GoodpartsError(
    'store-write',
    `The training cannot write ${what}: ${error.message}. Check that the folder can be written and that there is space on the disk.`,
    { cause: (error as NodeJS.ErrnoException).code ?? '' }
  );
