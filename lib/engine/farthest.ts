/** Buckets of a float's upper and of its lower half. */
const HALF = 1 << 16;

/** Room for `farthest`, made once for many calls. */
export class Farthest {
  private readonly buckets = new Int32Array(HALF);

  /**
   * Indices of the `count` largest values, ascending, and the largest value that is not among them (-Infinity: none). Of equal ones the first
   * are taken. Negative values are passed over.
   * The bits of positive floats sort as their values do: two counts of 16 bits each find the limit without sorting.
   */
  of(values: Float32Array, count: number): { indices: Int32Array; next: number } {
    const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
    const high = this.limit(
      bits,
      count,
      x => x >>> 16 < 0x8000,
      x => x >>> 16
    );
    const low =
      high.key < 0
        ? high
        : this.limit(
            bits,
            count - high.above,
            x => x >>> 16 === high.key,
            x => x & 0xffff
          );
    const limit = high.key < 0 ? 0 : high.key * HALF + low.key;
    let ties = high.key < 0 ? 0 : count - high.above - low.above;
    const indices: number[] = [];
    let next = -1;
    for (let i = 0; i < bits.length; i++) {
      const x = bits[i];
      if (x >>> 31) continue;
      if (x > limit || (x === limit && (high.key < 0 || ties-- > 0))) indices.push(i);
      else if (next < 0 || x > bits[next]) next = i;
    }
    return { indices: Int32Array.from(indices), next: next < 0 ? -Infinity : values[next] };
  }

  /** The bucket in which the `count`-th largest lies (-1: there are not as many), and how many lie in those above. */
  private limit(
    bits: Uint32Array,
    count: number,
    counts: (x: number) => boolean,
    key: (x: number) => number
  ): { key: number; above: number } {
    const { buckets } = this;
    buckets.fill(0);
    for (let i = 0; i < bits.length; i++) if (counts(bits[i])) buckets[key(bits[i])]++;
    let above = 0;
    for (let k = HALF - 1; k >= 0; k--) {
      if (above + buckets[k] >= count) return { key: k, above };
      above += buckets[k];
    }
    return { key: -1, above };
  }
}
