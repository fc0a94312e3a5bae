import { free } from './free';
import { Room } from './room';
import type { RowFile } from './workfile';

/** Rows that stay in memory, and bytes of them, at the most. */
const ROOM = { rows: 40_000, bytes: 96 * 2 ** 20 };
/** Numbers after which a distance that has grown too large is given up. */
const STRIDE = 128;

/** Rows of a file that were used lately, and exact distances between them. */
export class RowCache {
  readonly capacity: number;
  private readonly data: Float32Array;
  /** where each row lies; -1: only in the file */
  private readonly slotOf: Int32Array;
  private readonly rowAt: Int32Array;
  private readonly used: Int32Array;
  private readonly room = new Room();
  private hand = 0;
  private call = 0;

  constructor(private readonly file: RowFile) {
    this.capacity = Math.min(
      file.count,
      Math.max(4096, Math.min(ROOM.rows, Math.floor(ROOM.bytes / file.dimensions / 4)))
    );
    this.data = new Float32Array(this.capacity * file.dimensions);
    this.slotOf = new Int32Array(file.count).fill(-1);
    this.rowAt = new Int32Array(this.capacity).fill(-1);
    this.used = new Int32Array(this.capacity);
  }

  /** Brings rows into memory, where they stay until the next call; no more than `capacity` different ones. */
  async hold(rows: ArrayLike<number>): Promise<void> {
    this.call++;
    const missing: number[] = [];
    for (let i = 0; i < rows.length; i++) {
      const slot = this.slotOf[rows[i]];
      if (slot >= 0) this.used[slot] = this.call;
      else if (slot === -1) {
        missing.push(rows[i]);
        this.slotOf[rows[i]] = -2;
      }
    }
    if (!missing.length) return;
    missing.sort((a, b) => a - b);
    const { dimensions: d } = this.file;
    const step = Math.ceil(2 ** 22 / d / 4);
    for (let at = 0; at < missing.length; at += step) {
      const some = missing.slice(at, at + step);
      const read = await this.file.gather(some, this.room.of(some.length * d));
      some.forEach((row, i) => this.data.set(read.subarray(i * d, (i + 1) * d), this.slotFor(row) * d));
    }
  }

  /** Squared distance of two rows that are held; some number above `limit` where it is larger than that. */
  squared(a: number, b: number, limit: number): number {
    const { data } = this;
    const d = this.file.dimensions;
    let x = this.slotOf[a] * d;
    let y = this.slotOf[b] * d;
    const end = x + d;
    let sum = 0;
    // four sums at a time: one alone would wait for each addition before the next (three times slower)
    for (const last = end - (d % 4); x < last && sum <= limit;) {
      let p = 0;
      let q = 0;
      let r = 0;
      let s = 0;
      for (const stop = Math.min(last, x + STRIDE); x < stop; x += 4, y += 4) {
        const a = data[x] - data[y];
        const b = data[x + 1] - data[y + 1];
        const c = data[x + 2] - data[y + 2];
        const e = data[x + 3] - data[y + 3];
        p += a * a;
        q += b * b;
        r += c * c;
        s += e * e;
      }
      sum += p + q + r + s;
    }
    for (; x < end; x++, y++) sum += (data[x] - data[y]) ** 2;
    return sum;
  }

  forget(): void {
    free(this.data);
  }

  /** A place for a row: that of one which was not asked for lately. */
  private slotFor(row: number): number {
    while (this.used[this.hand] === this.call) this.hand = (this.hand + 1) % this.capacity;
    const slot = this.hand;
    this.hand = (this.hand + 1) % this.capacity;
    if (this.rowAt[slot] >= 0) this.slotOf[this.rowAt[slot]] = -1;
    this.rowAt[slot] = row;
    this.slotOf[row] = slot;
    this.used[slot] = this.call;
    return slot;
  }
}
