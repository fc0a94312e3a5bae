import sharp from 'sharp';
import { decode, Picture } from '../lib/engine/decode';
import { Extractor } from '../lib/engine/features';
import { nearestRowsGraph } from '../lib/engine/graphs/cells';
import { squaredLengths } from '../lib/engine/pairs';
import { WholeSearch, type SearchHead } from '../lib/engine/head';
import { feeds } from '../lib/engine/kmeans';
import { LargeSearch } from '../lib/engine/large';
import { imageMetrics } from '../lib/engine/metrics';
import { encodeNpy } from '../lib/engine/npy';
import { perturbed } from '../lib/engine/perturb';
import { completeSettings, PRESETS } from '../lib/engine/presets';
import { Runtime } from '../lib/engine/runtime';
import type { FitSettings } from '../lib/engine/types';
import { graphIndexes } from './graph-index';
import { timed } from './rounds';

export interface IndexBenchOptions {
  /** good parts that banks are made of, and pictures to search with; encoded */
  train: Buffer[];
  test: Buffer[];
  /** pictures with and without defects, to see whether both searches tell them apart equally well */
  labelled?: { picture: Buffer; label: 0 | 1 }[];
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
  /** image AUROC of the labelled pictures, if there are any */
  wholeAuroc?: number;
  cellsAuroc?: number;
  /** where they are installed, and the bank is not too large to wait for them */
  graphs: GraphRow[];
}

export interface GraphRow {
  name: string;
  ms: number[];
  recall: number;
  buildS: number;
  /** how much the largest distance of a picture, its score, is too large at worst: a share of it */
  worstScore: number;
}

/** Largest bank that graphs are built for; they take a minute for each 100,000 patches. */
const GRAPHS_UP_TO = 100_000;

/** Bank patches of one run of the exact comparison. */
const TILE = 8192;
const round = (x: number): number => Math.round(x * 1e4) / 1e4;

/** Search in the whole bank against search in its cells, for banks of random patches of good parts and their shifted copies. */
export async function indexBench(options: IndexBenchOptions): Promise<IndexBenchRow[]> {
  const { train, test, sizes = [50_000, 100_000], threads = 2 } = options;
  const settings = completeSettings(options.settings);
  const runtime = await Runtime.create('cpu', threads);
  const extractor = await Extractor.create(runtime, settings);
  const embed = async (picture: Picture): Promise<Float32Array> =>
    (await extractor.embed([(await extractor.prepare(picture)).input])).patches[0];
  const queries: Float32Array[] = [];
  for (const image of test) queries.push(await embed(await decode(image, {})));
  const labelled: Labelled = { patches: [], labels: [] };
  for (const { picture, label } of options.labelled ?? []) {
    labelled.patches.push(await embed(await decode(picture, {})));
    labelled.labels.push(label);
  }
  const { dimensions, patches } = await collect(train, embed, sizes[sizes.length - 1], settings, extractor);
  await extractor.release();
  const rows: IndexBenchRow[] = [];
  for (const size of sizes)
    rows.push(
      await measure(runtime, patches.subarray(0, size * dimensions), dimensions, queries, labelled, settings, threads)
    );
  return rows;
}

interface Labelled {
  /** of each picture */
  patches: Float32Array[];
  labels: number[];
}

/** Image AUROC of the scores that a search gives. */
async function aurocOf(search: SearchHead, { patches, labels }: Labelled): Promise<number | undefined> {
  const scores: number[] = [];
  for (const picture of patches) scores.push((await search.search(picture)).score);
  return imageMetrics(scores, labels).auroc ?? undefined;
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
  labelled: Labelled,
  settings: Required<FitSettings>,
  threads: number
): Promise<IndexBenchRow> {
  const { distance, score } = PRESETS[settings.preset];
  const rating = { neighbours: settings.neighbours, distance, score };
  const whole = await WholeSearch.create(runtime, bank, dimensions, rating);
  const wholeMs = await timed(queries, patches => whole.search(patches), 1);
  const wholeAuroc = await aurocOf(whole, labelled);
  await whole.release();
  const start = performance.now();
  const cells = await LargeSearch.create(runtime, bank, dimensions, rating);
  const buildS = (performance.now() - start) / 1000;
  const cellsMs = await timed(queries, patches => cells.search(patches), 1);
  const exact = await exactNearest(runtime, bank, dimensions, queries);
  const found: ArrayLike<number>[] = [];
  for (const patches of queries) found.push((await cells.search(patches)).nearest);
  const { recall } = compare(exact, found, bank, dimensions, queries);
  const fileMb = Object.values(cells.arrays()).reduce((sum, array) => sum + encodeNpy(array).length / 1e6, 0);
  const cellsAuroc = await aurocOf(cells, labelled);
  await cells.release();
  const size = bank.length / dimensions;
  const graphs: GraphRow[] = [];
  for (const { name, nearest, buildS: seconds } of size > GRAPHS_UP_TO ? [] : graphIndexes(bank, dimensions, threads)) {
    const ms = await timed(queries, async patches => nearest(patches), 1);
    const agreement = compare(exact, queries.map(nearest), bank, dimensions, queries);
    graphs.push({ name, ms, buildS: round(seconds), ...agreement });
  }
  return {
    bank: size,
    dimensions,
    wholeMs,
    cellsMs,
    recall,
    buildS: round(buildS),
    fileMb: round(fileMb),
    wholeAuroc,
    cellsAuroc,
    graphs
  };
}

/** Rows of the bank nearest to each patch, in tiles; by the same arithmetic as the engine's exact search. */
async function exactNearest(
  runtime: Runtime,
  bank: Float32Array,
  dimensions: number,
  queries: Float32Array[]
): Promise<Int32Array[]> {
  const session = await runtime.session(nearestRowsGraph(dimensions, 1));
  const norms = squaredLengths(bank, dimensions);
  const rows: Int32Array[] = [];
  for (const patches of queries) {
    const best = new Float32Array(patches.length / dimensions).fill(Infinity);
    const nearest = new Int32Array(best.length);
    for (let from = 0; from < norms.length; from += TILE) {
      const part = bank.subarray(from * dimensions, (from + TILE) * dimensions);
      const { values, indices } = await session.run(feeds(patches, part, norms.subarray(from, from + TILE)));
      values.data.forEach((value, i) => {
        if (value >= best[i]) return;
        best[i] = value;
        nearest[i] = from + indices.data[i];
      });
    }
    rows.push(nearest);
  }
  await session.release();
  return rows;
}

/** How often the nearest distance was found, within a thousandth, and how far off the largest one of a picture is at worst. */
function compare(
  exact: ArrayLike<number>[],
  found: ArrayLike<number>[],
  bank: Float32Array,
  dimensions: number,
  queries: Float32Array[]
): { recall: number; worstScore: number } {
  let close = 0;
  let all = 0;
  let worstScore = 0;
  queries.forEach((patches, picture) => {
    const distance = (patch: number, row: number): number => {
      let sum = 0;
      for (let d = 0; d < dimensions; d++) sum += (patches[patch * dimensions + d] - bank[row * dimensions + d]) ** 2;
      return Math.sqrt(sum);
    };
    let [right, given] = [0, 0];
    for (let patch = 0; patch < exact[picture].length; patch++) {
      const [a, b] = [distance(patch, exact[picture][patch]), distance(patch, found[picture][patch])];
      if (b <= a * 1.001) close++;
      right = Math.max(right, a);
      given = Math.max(given, b);
    }
    all += exact[picture].length;
    worstScore = Math.max(worstScore, given / right - 1);
  });
  return { recall: round(close / all), worstScore: round(worstScore) };
}
