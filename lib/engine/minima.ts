/** Four at a time: a processor compares these side by side. */
function minimum(values: Float32Array, from: number, to: number): number {
  let a = Infinity;
  let b = Infinity;
  let c = Infinity;
  let d = Infinity;
  let k = from;
  for (; k + 3 < to; k += 4) {
    a = Math.min(a, values[k]);
    b = Math.min(b, values[k + 1]);
    c = Math.min(c, values[k + 2]);
    d = Math.min(d, values[k + 3]);
  }
  for (; k < to; k++) a = Math.min(a, values[k]);
  return Math.min(a, b, c, d);
}

/** Values of one block. */
const BLOCK = 64;

/** Rows of a matrix with the smallest value of each block: small ones are found again without a look at all. */
export class Minima {
  private readonly blocks: number;
  private readonly minima: Float32Array;

  constructor(
    private readonly values: Float32Array,
    private readonly width: number
  ) {
    this.blocks = Math.ceil(width / BLOCK);
    this.minima = new Float32Array((values.length / width) * this.blocks);
    let at = 0;
    for (let row = 0; row < values.length; row += width)
      for (let from = row; from < row + width; from += BLOCK) {
        const end = Math.min(from + BLOCK, row + width);
        this.minima[at++] = minimum(values, from, end);
      }
  }

  /** Column of a row's smallest value. */
  smallest(row: number): number {
    const start = row * this.blocks;
    let block = 0;
    for (let b = 1; b < this.blocks; b++) if (this.minima[start + b] < this.minima[start + block]) block = b;
    const from = row * this.width + block * BLOCK;
    let best = from;
    while (this.values[best] !== this.minima[start + block]) best++;
    return best - row * this.width;
  }

  /** Visits the columns of a row whose values are below a limit. */
  below(row: number, limit: number, visit: (column: number) => void): void {
    for (let b = 0; b < this.blocks; b++) {
      if (this.minima[row * this.blocks + b] >= limit) continue;
      const end = Math.min((b + 1) * BLOCK, this.width);
      for (let j = b * BLOCK; j < end; j++) if (this.values[row * this.width + j] < limit) visit(j);
    }
  }
}
