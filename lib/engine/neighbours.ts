import { setImmediate } from 'node:timers/promises';
import { GoodpartsError } from './errors';
import { nearestRowsGraph } from './graphs/cells';
import { LEFT_OUT } from './graphs/rank';
import { assign, BuildOptions, feeds, kMeans } from './kmeans';
import { gatherRows, squaredLengths } from './pairs';
import type { Runtime, Session } from './runtime';
import type { DeviceReport } from './types';
import type { Arrays } from './version';

/** Cells of a bank of M patches: this times the root of M, so that choosing cells and searching in them both grow as the root. */
const CELLS_PER_ROOT = 2;
/** Cells searched for a patch, and for one that is hard to place: those are the patches that decide the score. */
const PROBES = { usual: 16, hard: 64 };
/** Share of a picture's patches, those farthest from what the usual cells hold, that counts as hard to place. */
const HARD = 1 / 64;
/** Bank patches brought into their cells' order at once. */
const FILL = 8192;
/** From this bank size on the cells are faster than the search of the whole bank; see docs/architecture.md. */
export const PAYS_FROM = 160_000;

/** Whether the cells are worth it: on the CPU and for a large bank. A GPU searches the whole bank in less time than it takes to ask twice. */
export function pays(bankSize: number, device: DeviceReport['used']): boolean {
  return device === 'cpu' && bankSize >= PAYS_FROM;
}

/** Cells of a bank. */
export function cellCount(bankSize: number): number {
  return Math.max(1, Math.min(bankSize, Math.round(CELLS_PER_ROOT * Math.sqrt(bankSize))));
}

/**
 * Approximate nearest bank patches for banks that are too large to be searched whole: the bank is parted into cells around the centers
 * of a k-means, and each patch is compared only with the bank patches of the cells whose centers are nearest to it. Holds the bank
 * once more, ordered by cells (M x D x 4 bytes).
 * Source: inverted file, Jegou, Douze and Schmid (2011), "Product quantization for nearest neighbor search", sec. IV.
 */
export class Neighbours {
  private constructor(
    private readonly nearest: Session,
    private readonly few: Session,
    private readonly many: Session,
    private readonly cells: Cells
  ) {}

  /**
   * Parts a bank into cells. The same bank gives the same cells.
   * @param bank [M, D], row-major
   * @throws GoodpartsError `fit-aborted`
   */
  static async build(
    runtime: Runtime,
    bank: Float32Array,
    dimensions: number,
    options: BuildOptions = {}
  ): Promise<Neighbours> {
    const size = bank.length / dimensions;
    const count = cellCount(size);
    const nearest = await runtime.session(nearestRowsGraph(dimensions, 1));
    try {
      const centers = await kMeans(nearest, bank, dimensions, count, options);
      const cellOf = await assign(nearest, bank, centers, dimensions, options);
      return await Neighbours.create(runtime, bank, dimensions, centers, cellOf);
    } finally {
      await nearest.release();
    }
  }

  /**
   * The index from what `arrays` gave.
   * @throws GoodpartsError `detector-damaged` where the arrays do not belong to this bank
   */
  static async load(runtime: Runtime, bank: Float32Array, dimensions: number, arrays: Arrays): Promise<Neighbours> {
    const [centers, cellOf] = [arrays['bank-centers']?.data, arrays['bank-cells']?.data];
    const fits =
      centers instanceof Float32Array &&
      cellOf instanceof Int32Array &&
      centers.length > 0 &&
      centers.length % dimensions === 0 &&
      cellOf.length === bank.length / dimensions &&
      centers.every(Number.isFinite) &&
      cellOf.every(cell => cell >= 0 && cell < centers.length / dimensions);
    if (!fits)
      throw new GoodpartsError(
        'detector-damaged',
        'The search index of the detector does not belong to its memory bank: fit again.'
      );
    return Neighbours.create(runtime, bank, dimensions, centers, cellOf);
  }

  private static async create(
    runtime: Runtime,
    bank: Float32Array,
    dimensions: number,
    centers: Float32Array,
    cellOf: Int32Array
  ): Promise<Neighbours> {
    const cells = new Cells(dimensions, centers, cellOf);
    await cells.fill(bank);
    const session = (count: number): Promise<Session> =>
      runtime.session(nearestRowsGraph(dimensions, Math.min(count, cells.count)));
    return new Neighbours(await session(1), await session(PROBES.usual), await session(PROBES.hard), cells);
  }

  /** What `load` needs beside the bank: `bank-centers` float32 [C, D], `bank-cells` int32 [M], the cell of each bank patch. */
  arrays(): Arrays {
    const { centers, cellOf, dimensions, count } = this.cells;
    return {
      'bank-centers': { data: centers, shape: [count, dimensions] },
      'bank-cells': { data: cellOf, shape: [cellOf.length] }
    };
  }

  /**
   * The bank patches near to each patch, to be measured exactly by the caller.
   * @param patches [P, D], row-major
   * @param wanted candidates of a patch, each the nearest one of a different cell
   * @param leftOut bank patches that are nobody's candidate, as long as there is any other
   * @returns indices into the bank, [P, wanted], nearest first; where there are fewer, the nearest one fills up
   */
  async candidates(patches: Float32Array, wanted: number, leftOut?: Int32Array): Promise<Int32Array> {
    const { dimensions, count } = this.cells;
    const search: Search = {
      patches,
      norms: this.cells.normsWithout(leftOut),
      best: new Best(patches, dimensions, wanted)
    };
    const everybody = Int32Array.from({ length: patches.length / dimensions }, (_, i) => i);
    await this.visit(search, everybody, await this.near(this.few, search.patches, everybody), 0);
    // a patch far from all that was found decides the score, and a nearer one that was missed there would be a false alarm
    const hard = search.best.farthest(Math.ceil(everybody.length * HARD));
    await this.visit(search, hard, await this.near(this.many, search.patches, hard), PROBES.usual);
    // left alone: all patches of its cells are left out
    const alone = everybody.filter(i => search.best.isAlone(i));
    const all = Int32Array.from({ length: alone.length * count }, (_, i) => i % count);
    if (alone.length) await this.visit(search, alone, all, 0);
    return search.best.indices(this.cells.order);
  }

  /** The bank patches, 64 of them, nearest to one of them, [1, D]: indices, nearest first. */
  async around(patch: Float32Array, leftOut?: Int32Array): Promise<Int32Array> {
    const { dimensions, starts, rows, order, count } = this.cells;
    const norms = this.cells.normsWithout(leftOut);
    const cells = await this.near(this.few, patch, Int32Array.of(0));
    const places: number[] = [];
    const collect = (cell: number): void => {
      for (let place = starts[cell]; place < starts[cell + 1]; place++) places.push(place);
    };
    for (const cell of Array.from(cells)) collect(cell);
    // in cells that small the nearest ones may lie elsewhere
    if (places.length < PROBES.hard) {
      places.length = 0;
      for (let cell = 0; cell < count; cell++) collect(cell);
    }
    const some = Int32Array.from(places);
    const found = await this.many.run(
      feeds(
        patch,
        gatherRows(rows, some, dimensions),
        Float32Array.from(some, place => norms[place])
      )
    );
    return Int32Array.from(found.indices.data, i => order[some[i]]);
  }

  async release(): Promise<void> {
    await Promise.all([this.nearest, this.few, this.many].map(s => s.release()));
  }

  /** The cells with the nearest centers, row-major, one row for each of `some` patches. */
  private async near(session: Session, patches: Float32Array, some: Int32Array): Promise<ArrayLike<number>> {
    const { centers, centerNorms, dimensions } = this.cells;
    const found = await session.run(feeds(gatherRows(patches, some, dimensions), centers, centerNorms));
    return found.indices.data;
  }

  /** Searches for each of `some` patches the cells in its row of `cells`, from column `from` on: one run for all patches in a cell. */
  private async visit(search: Search, some: Int32Array, cells: ArrayLike<number>, from: number): Promise<void> {
    const { dimensions, starts, rows, count } = this.cells;
    const visitors: number[][] = Array.from({ length: count }, () => []);
    const columns = cells.length / some.length;
    some.forEach((patch, i) => {
      for (let c = from; c < columns; c++) visitors[cells[i * columns + c]].push(patch);
    });
    for (const [cell, patches] of visitors.entries()) {
      const [first, end] = [starts[cell], starts[cell + 1]];
      if (!patches.length || first === end) continue;
      const members = rows.subarray(first * dimensions, end * dimensions);
      const queries = gatherRows(search.patches, patches, dimensions);
      const { values, indices } = await this.nearest.run(feeds(queries, members, search.norms.subarray(first, end)));
      patches.forEach((patch, i) => search.best.add(patch, values.data[i], first + indices.data[i]));
    }
  }
}

/** One picture's search under way. */
interface Search {
  patches: Float32Array;
  /** of the bank in the order of its cells */
  norms: Float32Array;
  best: Best;
}

/** The bank in the order of its cells. */
class Cells {
  readonly count: number;
  readonly centerNorms: Float32Array;
  /** where each cell starts in the order, and the end, [C + 1] */
  readonly starts: Int32Array;
  /** index in the bank of each patch in the order of the cells, [M] */
  readonly order: Int32Array;
  /** [M, D] in that order */
  readonly rows: Float32Array;
  /** where each bank patch lies in that order, [M] */
  private readonly places: Int32Array;
  private readonly norms: Float32Array;

  constructor(
    readonly dimensions: number,
    readonly centers: Float32Array,
    readonly cellOf: Int32Array
  ) {
    this.count = centers.length / dimensions;
    this.centerNorms = squaredLengths(centers, dimensions);
    this.starts = new Int32Array(this.count + 1);
    for (const cell of cellOf) this.starts[cell + 1]++;
    for (let cell = 0; cell < this.count; cell++) this.starts[cell + 1] += this.starts[cell];
    const next = this.starts.slice();
    this.order = new Int32Array(cellOf.length);
    this.places = cellOf.map(cell => next[cell]++);
    this.places.forEach((place, i) => (this.order[place] = i));
    this.rows = new Float32Array(cellOf.length * dimensions);
    this.norms = new Float32Array(cellOf.length);
  }

  /** Brings the bank into the order, a part at a time: a large one takes seconds, and the process has others to answer. */
  async fill(bank: Float32Array): Promise<void> {
    const d = this.dimensions;
    for (let from = 0; from < this.order.length; from += FILL) {
      const some = this.rows.subarray(from * d, (from + FILL) * d);
      gatherRows(bank, this.order.subarray(from, from + FILL), d, some);
      this.norms.set(squaredLengths(some, d), from);
      await setImmediate();
    }
  }

  normsWithout(leftOut?: Int32Array): Float32Array {
    if (!leftOut?.length) return this.norms;
    const norms = this.norms.slice();
    for (const i of leftOut) norms[this.places[i]] = LEFT_OUT;
    return norms;
  }
}

/** The best few that were found for each patch: values as in `nearestRowsGraph`, places in the order of the cells. */
class Best {
  private readonly values: Float32Array;
  private readonly places: Int32Array;
  private readonly norms: Float32Array;

  constructor(
    patches: Float32Array,
    dimensions: number,
    private readonly wanted: number
  ) {
    this.norms = squaredLengths(patches, dimensions);
    this.values = new Float32Array(this.norms.length * wanted).fill(Infinity);
    this.places = new Int32Array(this.norms.length * wanted);
  }

  add(patch: number, value: number, place: number): void {
    const first = patch * this.wanted;
    let at = first + this.wanted - 1;
    if (!(value < this.values[at])) return;
    for (; at > first && value < this.values[at - 1]; at--) {
      this.values[at] = this.values[at - 1];
      this.places[at] = this.places[at - 1];
    }
    this.values[at] = value;
    this.places[at] = place;
  }

  isAlone(patch: number): boolean {
    return this.values[patch * this.wanted] >= LEFT_OUT / 10;
  }

  /** The patches with the largest distances to what was found. */
  farthest(count: number): Int32Array {
    const squared = this.norms.map((norm, i) => norm + this.values[i * this.wanted]);
    return Int32Array.from(squared.keys())
      .sort((a, b) => squared[b] - squared[a] || a - b)
      .subarray(0, count);
  }

  indices(order: Int32Array): Int32Array {
    return this.places.map((place, i) => {
      const absent = this.values[i] >= LEFT_OUT / 10;
      return order[absent ? this.places[i - (i % this.wanted)] : place];
    });
  }
}
