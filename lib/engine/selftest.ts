import type { Picture } from './decode';
import { GoodpartsError } from './errors';
import type { Extractor } from './features';
import type { MapHead, SearchHead } from './head';
import type { Npy } from './npy';
import { inspectedRows, type Inspection } from './region';
import { randomStream } from './random';
import type { Arrays } from './store';
import type { FitSettings } from './types';

/** What the self-test picture gives: travels with each detector and is compared when it is loaded on a device. */
export interface SelfTest {
  embedding: Float32Array;
  map: Float32Array;
  score: number;
}

/** Largest difference that is accepted, relative to the largest value: float32 on other hardware stays well below it. */
const TOLERANCE = 2e-3;
/**
 * In 8 bits a value next to the edge of a step falls to either side when the hardware rounds the last digit otherwise, and whatever
 * follows moves with it: single numbers say little, the length of the difference counts. A picture that differs by a millionth gives
 * embeddings that differ by .007 to .014; the same network in float32 by .042 to .053 (embedded, ResNet18, ResNet50).
 */
const INT8_TOLERANCE = 3e-2;
const [WIDTH, HEIGHT] = [150, 120];

/** A drawn picture: shaded, with edges at several scales and some noise, so that no part of the network stays idle. */
export function selfTestPicture(): Picture {
  const random = randomStream(2022);
  const data = new Uint8Array(WIDTH * HEIGHT * 3);
  for (let y = 0; y < HEIGHT; y++)
    for (let x = 0; x < WIDTH; x++) {
      const ring = Math.hypot(x - 70, y - 55) % 24 < 9 ? 70 : 0;
      const check = ((x >> 4) + (y >> 4)) & 1 ? 40 : 0;
      for (let c = 0; c < 3; c++)
        data[(y * WIDTH + x) * 3 + c] =
          60 + ((x * (c + 1)) / 4) * 0.6 + ring * (c === 1 ? 0.4 : 1) + check + random() * 12;
    }
  return { data, width: WIDTH, height: HEIGHT };
}

interface Parts {
  extractor: Extractor;
  search: SearchHead;
  map: MapHead;
  settings: Required<FitSettings>;
  inspection?: Inspection;
}

/** Runs a picture through everything that a score runs through. */
export async function runSelfTest(parts: Parts, picture: Picture): Promise<SelfTest> {
  const { extractor, search, map, settings, inspection } = parts;
  const prepared = await extractor.prepare(picture);
  const embeddings = await extractor.embed([prepared.input]);
  const region = inspection?.inside(prepared, extractor.size, embeddings);
  // a crop of this picture may lie beside the region
  const inside = region?.patches.length ? region : undefined;
  const { distances, score } = await search.search(inspectedRows(embeddings.patches[0], embeddings.dimensions, inside));
  const { data } = await map.inInput(distances, embeddings, settings, inside);
  // 16 patches from all over the grid and every 7th map value tell as much as all of them
  const count = embeddings.rows * embeddings.columns;
  const step = Math.max(1, Math.floor(count / 16));
  const embedding = Float32Array.from({ length: 16 * embeddings.dimensions }, (_, i) => {
    const patch = Math.min(count - 1, Math.floor(i / embeddings.dimensions) * step);
    return embeddings.patches[0][patch * embeddings.dimensions + (i % embeddings.dimensions)];
  });
  const values = inside ? data.filter(v => !Number.isNaN(v)) : data;
  return { embedding, map: values.filter((_, i) => i % 7 === 0), score };
}

export function selfTestArrays(picture: Picture, result: SelfTest): Arrays {
  return {
    'selftest-image': { data: picture.data, shape: [picture.height, picture.width, 3] },
    'selftest-embedding': { data: result.embedding, shape: [result.embedding.length] },
    'selftest-map': { data: result.map, shape: [result.map.length] }
  };
}

/** Bytes that these arrays take in a version. */
export function selfTestFiles(dimensions: number, { inputWidth, inputHeight }: Required<FitSettings>): number {
  return WIDTH * HEIGHT * 3 + 4 * (16 * dimensions + Math.ceil((inputWidth * inputHeight) / 7));
}

/** Largest difference relative to the largest expected value. */
export function largestDifference(got: Float32Array, expected: Float32Array): number {
  if (got.length !== expected.length) return Infinity;
  let [worst, scale] = [0, 0];
  expected.forEach((e, i) => {
    // a NaN must not pass for agreement
    worst = Math.max(worst, Number.isFinite(got[i]) ? Math.abs(got[i] - e) : Infinity);
    scale = Math.max(scale, Math.abs(e));
  });
  return worst / Math.max(scale, 1e-12);
}

/** Length of the difference of two vectors relative to `expected`; NaN where one holds a NaN. */
export function relativeError(got: Float32Array, expected: Float32Array): number {
  if (got.length !== expected.length) return Infinity;
  let [error, length] = [0, 0];
  expected.forEach((e, i) => {
    error += (got[i] - e) ** 2;
    length += e ** 2;
  });
  return Math.sqrt(error / Math.max(length, 1e-24));
}

/**
 * Repeats the self-test of a stored detector and compares.
 * @returns the largest relative difference of embeddings, map and score
 * @throws GoodpartsError `detector-parity` when this device computes something else
 */
export async function checkSelfTest(parts: Parts, arrays: Arrays, score: number, device: string): Promise<number> {
  const image = arrays['selftest-image'] as Npy<Uint8Array>;
  const int8 = parts.settings.precision === 'int8';
  const difference = int8 ? relativeError : largestDifference;
  const got = await runSelfTest(parts, { data: image.data, width: image.shape[1], height: image.shape[0] });
  const worst = Math.max(
    difference(got.embedding, arrays['selftest-embedding'].data as Float32Array),
    difference(got.map, arrays['selftest-map'].data as Float32Array),
    difference(Float32Array.of(got.score), Float32Array.of(score))
  );
  return int8
    ? accepted(worst, device, INT8_TOLERANCE, 'Fit again on this machine, or with the precision float32.')
    : accepted(worst, device);
}

/** @throws GoodpartsError `detector-parity` where what a self-test gives differs by more than is accepted */
export function accepted(
  difference: number,
  device: string,
  tolerance = TOLERANCE,
  advice = 'Set the device to cpu, or fit again.'
): number {
  // a NaN must not pass for agreement
  if (difference <= tolerance) return difference;
  throw new GoodpartsError(
    'detector-parity',
    `The self-test of this detector differs by ${(difference * 100).toPrecision(2)} % on ${device}; it is not used there. ${advice}`,
    { difference, device }
  );
}
