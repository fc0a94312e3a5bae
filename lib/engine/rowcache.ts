import { free } from './free';
import { Room } from './room';
import { SquaredDistance } from './squared';
import type { RowFile } from './workfile';

/** Rows that stay in memory, and bytes of them, at the most. */
const ROOM = { rows: 40_000, bytes: 96 * 2 ** 20 };

/** Rows of a file that were used lately, and exact distances between them. */
export class RowCache {
  readonly capacity: number;
  private readonly data: Float32Array;
  /** where each row lies; -1: only in the file */
  private readonly slotOf: Int32Array;
  private readonly rowAt: Int32Array;
  private readonly used: Int32Array;
  private readonly room = new Room();
  private readonly distance: SquaredDistance;
  /** the row that was compared last */
  private origin = -1;
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
    this.distance = new SquaredDistance(file.dimensions);
  }

  /** Brings rows into memory, where they stay until the next call; no more than `capacity` different ones. */
  async hold(lists: Int32Array[]): Promise<void> {
    this.call++;
    const missing: number[] = [];
    for (const rows of lists)
      for (const row of rows) {
        const slot = this.slotOf[row];
        if (slot >= 0) this.used[slot] = this.call;
        else if (slot === -1) {
          missing.push(row);
          this.slotOf[row] = -2;
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

  /** Squared distance of two rows that are held; some number above `limit` where it is larger than that. Faster with the same `a` again. */
  squared(a: number, b: number, limit: number): number {
    if (a !== this.origin) this.distance.from(this.row(a));
    this.origin = a;
    return this.distance.to(this.row(b), limit);
  }

  private row(index: number): Float32Array {
    const { dimensions: d } = this.file;
    const at = this.slotOf[index] * d;
    return this.data.subarray(at, at + d);
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
