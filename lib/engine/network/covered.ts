import { randomStream } from '../random';
import { largestDifference, selfTestPicture } from '../selftest';
import type { Size } from '../types';
import { middle, numbersOf, type Network } from './network';

/** Of what a network gives; where the border is not seen at all, the same numbers come out. */
const SAME = 1e-6;

/**
 * The middle of its input that a network looks at. Some exports cut out the middle by themselves and say so nowhere; their map would be
 * placed too large. They are told by this: a map smaller than the input, and whatever lies beside the middle of that size changes nothing.
 */
export async function coveredBy(network: Network, input: Size): Promise<Size> {
  const picture = (await network.prepare(selfTestPicture())).input;
  const seen = await network.run(picture);
  if (!seen.map) return input;
  const size = { width: seen.map.columns, height: seen.map.rows };
  if (size.width > input.width || size.height > input.height) return input;
  if (size.width === input.width && size.height === input.height) return input;
  const other = await network.run(withOtherBorder(picture, input, size));
  return largestDifference(numbersOf(other), numbersOf(seen)) < SAME ? size : input;
}

function withOtherBorder(picture: Float32Array, { width, height }: Size, inside: Size): Float32Array {
  const random = randomStream(7);
  const { left, top } = middle({ width, height }, inside);
  return picture.map((value, i) => {
    const [x, y] = [i % width, Math.floor(i / width) % height];
    const within = x >= left && x < left + inside.width && y >= top && y < top + inside.height;
    return within ? value : random();
  });
}
