import fs from 'node:fs/promises';
import path from 'node:path';

/** Beyond it a file is set aside as `<file>.1`, and so on: 60 MB in all, some 300,000 parts. */
const MOST_BYTES = 10 * 2 ** 20;
const KEPT = 5;
/** Characters that may wait for a slow disk; lines beyond are lost rather than filling the memory. */
const MOST_WAITING = 2 ** 20;

const unlessMissing = (error: NodeJS.ErrnoException): void => {
  if (error.code !== 'ENOENT') throw error;
};

/**
 * Lines that are appended without making anybody wait, to stdout or to a file of bounded size. The file is opened anew for each batch of
 * lines, so that it may be moved or deleted at any time, and nothing throws into the flow when it cannot be written.
 */
export class LogFile {
  private static readonly opened = new Map<string, LogFile>();
  private users = 0;
  private waiting = '';
  private writing?: Promise<void>;
  private bytes?: number;
  private warned = false;

  private constructor(
    private readonly place: string,
    private readonly warn: (text: string) => void,
    private readonly most: number
  ) {}

  /**
   * Two writers of one file would each set it aside, so they share it.
   * @param warn told once, in a sentence, when lines are lost
   * @param most bytes after which it is set aside
   */
  static open(place: string, warn: (text: string) => void, most = MOST_BYTES): LogFile {
    const file = LogFile.opened.get(place) ?? new LogFile(place, warn, most);
    LogFile.opened.set(place, file);
    file.users++;
    return file;
  }

  write(line: string): void {
    if (this.place === 'stdout') return void process.stdout.write(line);
    if (this.waiting.length > MOST_WAITING) return this.lost('the disk is too slow');
    this.waiting += line;
    this.writing ??= this.drain().finally(() => (this.writing = undefined));
  }

  /** Resolves when all lines are written, or lost. */
  async written(): Promise<void> {
    while (this.writing) await this.writing;
  }

  /** Ends with the last user. */
  async close(): Promise<void> {
    if (--this.users === 0) LogFile.opened.delete(this.place);
    await this.written();
  }

  private async drain(): Promise<void> {
    while (this.waiting !== '') {
      const text = this.waiting;
      this.waiting = '';
      await this.append(text).catch((error: Error) => this.lost(error.message));
    }
  }

  private async append(text: string): Promise<void> {
    this.bytes ??= await this.size();
    await fs.appendFile(this.place, text);
    this.bytes += Buffer.byteLength(text);
    if (this.bytes > this.most) await this.setAside();
  }

  private async size(): Promise<number> {
    await fs.mkdir(path.dirname(this.place), { recursive: true });
    return (await fs.stat(this.place).catch(unlessMissing))?.size ?? 0;
  }

  private async setAside(): Promise<void> {
    this.bytes = 0;
    for (let i = KEPT; i > 1; i--) await fs.rename(`${this.place}.${i - 1}`, `${this.place}.${i}`).catch(unlessMissing);
    await fs.rename(this.place, `${this.place}.1`);
  }

  private lost(why: string): void {
    if (this.warned) return;
    this.warned = true;
    this.warn(`The log of parts, ${path.basename(this.place)}, is not complete: ${why}.`);
  }
}
