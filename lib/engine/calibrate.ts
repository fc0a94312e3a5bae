import type { Distances, SearchHead } from './head';
import { argmax, gatherPatches, type PairDistances } from './pairs';

/** The memory bank while it is being made. */
export interface Bank {
  /** [M, D], row-major */
  data: Float32Array;
  /** index of the image that each bank patch came from, [M] */
  origin: Int32Array;
}

export interface LeaveOneOut {
  bank: Bank;
  /** patch embeddings of each image and its copies, [P * copies, D], those of the image first; two images at least */
  patches: Float32Array[];
  /** P: the copies are learned, but only the image itself is scored */
  perPicture: number;
  dimensions: number;
  /** of the whole bank */
  search: SearchHead;
  pairs: PairDistances;
  /** whether the search gives squared distances */
  squared: boolean;
  /** called between steps; throws to stop */
  onStep: (done: number, total: number) => void;
}

/** Patch distances of one image, [P], and its score. */
export type Scored = Pick<Distances, 'distances' | 'score'>;

/**
 * Distances and score of each image in a bank without its own patches.
 *
 * A coreset patch stands for patches of other images as well, which were left out because it covers them. Were it only taken away, all
 * of them would lose their neighbour and every score would come out too high. So an understudy takes its place: of the patches of other
 * images that it stands for, the one at the median distance. (The nearest one would be too good: no coreset is made to suit an image
 * that it has not seen.)
 */
export async function leaveOneOut(parts: LeaveOneOut): Promise<Scored[]> {
  const { bank, patches, search, onStep } = parts;
  const total = 2 * patches.length;
  const own = ownPatches(bank.origin, patches.length);
  const without: Distances[] = [];
  for (const image of patches.keys()) {
    onStep(image, total);
    without.push(await search.search(pictureOf(parts, image), own[image]));
  }
  const understudies = findUnderstudies(parts, without, own);
  const results: Scored[] = [];
  for (const image of patches.keys()) {
    onStep(patches.length + image, total);
    const extra = own[image].filter(i => understudies.has(i)).map(i => understudies.get(i)!);
    results.push(await withUnderstudies(parts, image, without[image], own[image], extra));
  }
  return results;
}

/** Embeddings of an image without its copies. */
const pictureOf = ({ patches, perPicture, dimensions }: LeaveOneOut, image: number): Float32Array =>
  patches[image].subarray(0, perPicture * dimensions);

/** Indices of each image's patches in the bank. */
function ownPatches(origin: Int32Array, images: number): Int32Array[] {
  const own: number[][] = Array.from({ length: images }, () => []);
  origin.forEach((image, i) => own[image].push(i));
  return own.map(indices => Int32Array.from(indices));
}

/** For each bank patch that stands for patches of other images: the index, over all images, of the one at the median distance. */
function findUnderstudies(
  { bank, patches, dimensions }: LeaveOneOut,
  without: Distances[],
  own: Int32Array[]
): Map<number, number> {
  const stoodFor: number[][] = Array.from(bank.origin, () => []);
  const perImage = patches[0].length / dimensions;
  without.forEach(({ nearest }, image) => {
    // an image that made the whole bank was searched in nothing
    if (own[image].length < bank.origin.length)
      nearest.forEach((bankPatch, i) => stoodFor[bankPatch].push(image * perImage + i));
  });
  const distance = (patch: number): number => without[Math.floor(patch / perImage)].distances[patch % perImage];
  const understudies = new Map<number, number>();
  stoodFor.forEach((members, bankPatch) => {
    if (members.length)
      understudies.set(bankPatch, members.sort((a, b) => distance(a) - distance(b))[members.length >> 1]);
  });
  return understudies;
}

/**
 * Lowers an image's distances by the understudies (indices over all images) of its own bank patches. The score's weight looks at the
 * neighbourhood of the nearest bank patch; it is taken from the bank without understudies, which changes it by little.
 */
async function withUnderstudies(
  parts: LeaveOneOut,
  image: number,
  without: Distances,
  own: Int32Array,
  extra: Int32Array
): Promise<Scored> {
  if (!extra.length) return without;
  const { patches, dimensions, search, squared, bank } = parts;
  // where the whole bank came from this image there is nothing left beside the understudies
  const alone = own.length === bank.origin.length;
  const nearest = without.distances.map(d => (alone ? Infinity : squared ? d : d * d));
  await parts.pairs.approach(pictureOf(parts, image), gatherPatches(patches, extra, dimensions), nearest);
  const distances = squared ? nearest : nearest.map(Math.sqrt);
  const top = argmax(distances);
  const found = await search.search(patches[image].subarray(top * dimensions, (top + 1) * dimensions), own);
  const weight = found.distances[0] > 0 ? found.score / found.distances[0] : 1;
  return { distances, score: weight * distances[top] };
}
