import sharp from 'sharp';
import { decode, Picture } from '../lib/engine/decode';
import { Extractor } from '../lib/engine/features';
import { nearestRowsGraph } from '../lib/engine/graphs/cells';
import { squaredLengths } from '../lib/engine/pairs';
import { WholeSearch } from '../lib/engine/head';
import { feeds } from '../lib/engine/kmeans';
import { LargeSearch } from '../lib/engine/large';
import { encodeNpy } from '../lib/engine/npy';
import { perturbed } from '../lib/engine/perturb';
import { completeSettings, PRESETS } from '../lib/engine/presets';
import { Runtime } from '../lib/engine/runtime';
import type { FitSettings } from '../lib/engine/types';
import { timed } from './rounds';

export interface IndexBenchOptions {
  /** good parts that banks are made of, and pictures to search with; encoded */
  train: Buffer[];
  test: Buffer[];
  /** patches of the banks, ascending; 1,000,000 of 384 dimensions need 4 GiB of memory and some minutes */
  sizes?: number[];
  settings?: FitSettings;
  threads?: number;
}

export interface IndexBenchRow {
  bank: number;
  dimensions: number;
  /** each picture: the whole bank in 8 bits, and its cells */
  wholeMs: number[];
  cellsMs: number[];
  /** share of the patches for which the cells give the nearest distance, within a thousandth */
  recall: number;
  buildS: number;
  fileMb: number;
}

/** Bank patches of one run of the exact comparison. */
const TILE = 8192;
const round = (x: number): number => Math.round(x * 1e4) / 1e4;

/** Search in the whole bank against search in its cells, for banks of random patches of good parts and their shifted copies. */
export async function indexBench(options: IndexBenchOptions): Promise<IndexBenchRow[]> {
  const { train, test, sizes = [50_000, 100_000] } = options;
  const settings = completeSettings(options.settings);
  const runtime = await Runtime.create('cpu', options.threads ?? 2);
  const extractor = await Extractor.create(runtime, settings);
  const embed = async (picture: Picture): Promise<Float32Array> =>
    (await extractor.embed([(await extractor.prepare(picture)).input])).patches[0];
  const queries: Float32Array[] = [];
  for (const image of test) queries.push(await embed(await decode(image, {})));
  const { dimensions, patches } = await collect(train, embed, sizes[sizes.length - 1], settings, extractor);
  await extractor.release();
  const rows: IndexBenchRow[] = [];
  for (const size of sizes)
    rows.push(await measure(runtime, patches.subarray(0, size * dimensions), dimensions, queries, settings));
  return rows;
}

/** `wanted` patches of the pictures and, where they are too few, of shifted, lit and mirrored copies of them. */
async function collect(
  train: Buffer[],
  embed: (picture: Picture) => Promise<Float32Array>,
  wanted: number,
  settings: Required<FitSettings>,
  extractor: Extractor
): Promise<{ dimensions: number; patches: Float32Array }> {
  const first = await decode(train[0], {});
  const { dimensions } = await extractor.embed([(await extractor.prepare(first)).input]);
  const patches = new Float32Array(wanted * dimensions);
  let filled = 0;
  for await (const picture of variants(train)) {
    const found = await embed(picture);
    const part = found.subarray(0, patches.length - filled);
    patches.set(part, filled);
    filled += part.length;
    if (filled === patches.length) return { dimensions, patches };
  }
  throw new Error(`${train.length} pictures at ${settings.inputWidth} px are too few for a bank of ${wanted} patches`);
}

/** All pictures, then a copy of each, then another; mirrored ones at the end. */
async function* variants(train: Buffer[]): AsyncGenerator<Picture> {
  for (const image of train) yield await decode(image, {});
  for (const mirror of [false, true])
    for (const image of train) {
      const picture = await decode(mirror ? await sharp(image).flop().png().toBuffer() : image, {});
      if (mirror) yield picture;
      yield* perturbed(picture);
    }
}

async function measure(
  runtime: Runtime,
  bank: Float32Array,
  dimensions: number,
  queries: Float32Array[],
  settings: Required<FitSettings>
): Promise<IndexBenchRow> {
  const { distance, score } = PRESETS[settings.preset];
  const rating = { neighbours: settings.neighbours, distance, score };
  const whole = await WholeSearch.create(runtime, bank, dimensions, rating);
  const wholeMs = await timed(queries, patches => whole.search(patches), 1);
  await whole.release();
  const start = performance.now();
  const cells = await LargeSearch.create(runtime, bank, dimensions, rating);
  const buildS = (performance.now() - start) / 1000;
  const cellsMs = await timed(queries, patches => cells.search(patches), 1);
  const recall = await recallOf(runtime, cells, bank, dimensions, queries);
  const fileMb = Object.values(cells.arrays()).reduce((sum, array) => sum + encodeNpy(array).length / 1e6, 0);
  await cells.release();
  const size = bank.length / dimensions;
  return { bank: size, dimensions, wholeMs, cellsMs, recall, buildS: round(buildS), fileMb: round(fileMb) };
}

async function recallOf(
  runtime: Runtime,
  cells: LargeSearch,
  bank: Float32Array,
  dimensions: number,
  queries: Float32Array[]
): Promise<number> {
  const session = await runtime.session(nearestRowsGraph(dimensions, 1));
  const norms = squaredLengths(bank, dimensions);
  let close = 0;
  let all = 0;
  for (const patches of queries) {
    const best = new Float32Array(patches.length / dimensions).fill(Infinity);
    const nearest = new Int32Array(best.length);
    for (let from = 0; from < norms.length; from += TILE) {
      const rows = bank.subarray(from * dimensions, (from + TILE) * dimensions);
      const { values, indices } = await session.run(feeds(patches, rows, norms.subarray(from, from + TILE)));
      values.data.forEach((value, i) => {
        if (value >= best[i]) return;
        best[i] = value;
        nearest[i] = from + indices.data[i];
      });
    }
    const distance = (patch: number, row: number): number => {
      let sum = 0;
      for (let d = 0; d < dimensions; d++) sum += (patches[patch * dimensions + d] - bank[row * dimensions + d]) ** 2;
      return Math.sqrt(sum);
    };
    const found = await cells.search(patches);
    nearest.forEach((row, patch) => {
      if (distance(patch, found.nearest[patch]) <= distance(patch, row) * 1.001) close++;
    });
    all += nearest.length;
  }
  await session.release();
  return round(close / all);
}
