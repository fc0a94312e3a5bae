import sharp from 'sharp';
import type { Picture } from './decode';

/** What a fixture and a lamp do from one picture to the next: a shift by 1 % of the picture's size, and 4 % more or less light. */
const SHIFT = 0.01;
const LIGHT = [0.96, 1, 1.04];

/** Slightly shifted and lit copies of a picture, one at a time, all of the same size: how much one and the same good part varies at the least. */
export async function* perturbed({ data, width, height }: Picture): AsyncGenerator<Picture> {
  const dx = Math.max(1, Math.round(width * SHIFT));
  const dy = Math.max(1, Math.round(height * SHIFT));
  for (const left of [0, 2 * dx])
    for (const top of [0, 2 * dy])
      for (const light of LIGHT) {
        // edges are continued by repeating, then a window of the original size is taken beside the middle
        const extended = await sharp(data, { raw: { width, height, channels: 3 } })
          .extend({ left: dx, right: dx, top: dy, bottom: dy, extendWith: 'copy' })
          .raw()
          .toBuffer();
        const copy = await sharp(extended, { raw: { width: width + 2 * dx, height: height + 2 * dy, channels: 3 } })
          .extract({ left, top, width, height })
          .linear(light, 0)
          .raw()
          .toBuffer();
        yield { data: copy, width, height };
      }
}
