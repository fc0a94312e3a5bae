import type { Distances, SearchHead } from './head';
import { argmax, type PairDistances } from './pairs';
import { PRESETS, type Preset } from './presets';
import type { Sample } from './sample';
import { percentile } from './threshold';
import type { Calibration, PresetName } from './types';

/** The memory bank while it is being made. */
export interface Bank {
  /** [M, D], row-major */
  data: Float32Array;
  /** index of the image that each bank patch came from, [M] */
  origin: Int32Array;
  /** covering radius: no patch of a good part is farther from its nearest bank patch */
  radius: number;
}

export interface LeaveOneOut {
  bank: Bank;
  /** two images at least; with their copies, if any: in each tile, those of the image itself first */
  sample: Sample;
  /** P of a tile: the copies are learned, but only the image itself is scored */
  perTile: number;
  dimensions: number;
  /** of the whole bank */
  search: SearchHead;
  pairs: PairDistances;
  preset: PresetName;
  /** called between steps; throws to stop */
  onStep: (done: number, total: number) => void;
}

/** Patch distances of one image, or of a tile of it, [P], and its score. */
export type Scored = Pick<Distances, 'distances' | 'score'>;

/** What a good image gives: its score, and the maps of its tiles at the network input's size; NaN was not inspected. */
export interface Seen {
  score: number;
  maps: Float32Array[];
}

/** What good images score, and what their maps show. @param seen what each of them gives, by its place */
export async function calibrationOf(
  method: Calibration['method'],
  count: number,
  seen: (index: number) => Promise<Seen>
): Promise<Calibration> {
  const scores: number[] = [];
  const mapMaxima: number[] = [];
  const values: number[] = [];
  for (let image = 0; image < count; image++) {
    const { score, maps } = await seen(image);
    let highest = 0;
    for (const map of maps) {
      const data = map.filter(value => !Number.isNaN(value));
      highest = data.reduce((a, b) => Math.max(a, b), highest);
      for (let i = 0; i < data.length; i += 61 * maps.length) values.push(data[i]);
    }
    scores.push(score);
    mapMaxima.push(highest);
  }
  const ascending = (a: number[]): number[] => a.sort((x, y) => x - y);
  return {
    method,
    scores: ascending(scores),
    mapMaxima: ascending(mapMaxima),
    mapMedian: percentile(ascending(values), 50)
  };
}

/** An image's score from those of its tiles: what the preset does with patches, done with the patches of all of them. */
export function imageScore(tiles: Scored[], preset: PresetName): number {
  const { score } = PRESETS[preset];
  if (tiles.length === 1) return tiles[0].score;
  if (score === 'max')
    return tiles[argmax(Float32Array.from(tiles, ({ distances }) => distances[argmax(distances)]))].score;
  const all = new Float32Array(tiles.reduce((sum, { distances }) => sum + distances.length, 0));
  let at = 0;
  for (const { distances } of tiles) {
    all.set(distances, at);
    at += distances.length;
  }
  return meanOfTop(all, score.top);
}

/**
 * Distances and score of each image, tile by tile, in a bank without its own patches.
 *
 * A coreset patch stands for patches of other images as well, which were left out because it covers them. Were it only taken away, all
 * of them would lose their neighbour and every score would come out too high. So an understudy takes its place: of the patches of other
 * images that it stands for, the one at the median distance. (The nearest one would be too good: no coreset is made to suit an image
 * that it has not seen.)
 */
export async function leaveOneOut(parts: LeaveOneOut): Promise<Scored[][]> {
  const { bank, sample, search, onStep } = parts;
  const tiles = sample.tiles();
  const own = ownPatches(bank.origin, sample.images);
  const without: Distances[] = [];
  for (const [i, { place }] of tiles.entries()) {
    onStep(i, 2 * tiles.length);
    without.push(await search.search(await ownOf(parts, i), own[place]));
  }
  const understudies = findUnderstudies(parts, without, own);
  const results: Scored[][] = own.map(() => []);
  for (const [i, { place }] of tiles.entries()) {
    onStep(tiles.length + i, 2 * tiles.length);
    const extra = own[place].filter(b => understudies.has(b)).map(b => understudies.get(b)!);
    results[place].push(await withUnderstudies(parts, i, without[i], own[place], extra));
  }
  return results;
}

/** Embeddings of a tile without those of its copies. */
const ownOf = async ({ sample, perTile, dimensions }: LeaveOneOut, tile: number): Promise<Float32Array> =>
  (await sample.patches(tile)).subarray(0, perTile * dimensions);

/** Indices in the bank of the patches of each of the images. */
function ownPatches(origin: Int32Array, images: readonly number[]): Int32Array[] {
  const places = new Map(images.map((image, place) => [image, place]));
  const own: number[][] = images.map(() => []);
  origin.forEach((image, i) => own[places.get(image) ?? -1]?.push(i));
  return own.map(indices => Int32Array.from(indices));
}

/** For each bank patch that stands for patches of other images: the index, over the sample, of the one at the median distance. */
function findUnderstudies({ bank, sample }: LeaveOneOut, without: Distances[], own: Int32Array[]): Map<number, number> {
  const stoodFor: number[][] = Array.from(bank.origin, () => []);
  const { perTile } = sample;
  const tiles = sample.tiles();
  without.forEach(({ nearest }, tile) => {
    // an image that made the whole bank was searched in nothing
    if (own[tiles[tile].place].length < bank.origin.length)
      nearest.forEach((bankPatch, i) => stoodFor[bankPatch].push(tile * perTile + i));
  });
  const distance = (patch: number): number => without[Math.floor(patch / perTile)].distances[patch % perTile];
  const understudies = new Map<number, number>();
  stoodFor.forEach((members, bankPatch) => {
    if (members.length)
      understudies.set(bankPatch, members.sort((a, b) => distance(a) - distance(b))[members.length >> 1]);
  });
  return understudies;
}

/**
 * Lowers a tile's distances by the understudies (indices over the sample) of its own bank patches. The score's weight looks at the
 * neighbourhood of the nearest bank patch; it is taken from the bank without understudies, which changes it by little.
 */
async function withUnderstudies(
  parts: LeaveOneOut,
  tile: number,
  without: Distances,
  own: Int32Array,
  extra: Int32Array
): Promise<Scored> {
  if (!extra.length) return without;
  const { sample, dimensions, search, bank } = parts;
  const { distance, score } = PRESETS[parts.preset];
  const patches = await ownOf(parts, tile);
  // where the whole bank came from this image there is nothing left beside the understudies
  const alone = own.length === bank.origin.length;
  const nearest = alone ? without.distances.map(() => Infinity) : squaredDistances(without.distances, distance);
  await parts.pairs.approach(patches, await sample.gather(extra), nearest);
  const distances = fromSquaredDistances(nearest, distance);
  if (score !== 'max') return { distances, score: meanOfTop(distances, score.top) };
  const top = argmax(distances);
  // the weight belongs to the patch: where it still is the farthest one, it is known
  const found =
    top === argmax(without.distances)
      ? { score: without.score, distances: [without.distances[top]] }
      : await search.search(patches.subarray(top * dimensions, (top + 1) * dimensions), own);
  const weight = found.distances[0] > 0 ? found.score / found.distances[0] : 1;
  return { distances, score: weight * distances[top] };
}

/** Squared L2 from distances as the search gives them. */
function squaredDistances(distances: Float32Array, distance: Preset['distance']): Float32Array {
  if (distance === 'cosine') return distances.map(d => 2 * d);
  return distance === 'squared' ? distances.slice() : distances.map(d => d * d);
}

function fromSquaredDistances(squared: Float32Array, distance: Preset['distance']): Float32Array {
  if (distance === 'cosine') return squared.map(d => d / 2);
  return distance === 'squared' ? squared : squared.map(Math.sqrt);
}

/** As the search graph scores: the mean of the largest ones, of a `share` of all and of one at least. */
function meanOfTop(distances: Float32Array, share: number): number {
  const largest = distances
    .slice()
    .sort()
    .subarray(-Math.max(1, Math.floor(distances.length * share)));
  return largest.reduce((sum, d) => sum + d, 0) / largest.length;
}
