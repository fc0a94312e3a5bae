import sharp from 'sharp';
import { defects, type DefectKind } from './defects';
import { drawPart, goodPart, type Flaw, type Part } from './part';
import { Random } from './random';

/** RGB, 8 bits a channel, row-major; the mask has one byte a pixel, 255 where the defect shows and 0 elsewhere. */
export interface Shot {
  pixels: Buffer;
  mask?: Buffer;
}

/** A change of fewer grey levels than this drowns in the sensor's noise and counts as no change. */
const VISIBLE = 6;
const NOISE = 2.2;

async function rasterise(part: Part, size: number, flaw?: Flaw): Promise<Buffer> {
  const svg = Buffer.from(drawPart(part, size, flaw));
  return sharp(svg).flatten().toColourspace('srgb').removeAlpha().blur(part.focus).raw().toBuffer();
}

/** 255 where any channel differs visibly, grown by one pixel. */
function difference(a: Buffer, b: Buffer, size: number): Buffer {
  const mask = Buffer.alloc(size * size);
  for (let i = 0; i < a.length; i++) {
    if (Math.abs(a[i] - b[i]) < VISIBLE) continue;
    const pixel = Math.floor(i / 3);
    const x = pixel % size;
    for (const row of [pixel - size, pixel, pixel + size]) {
      if (row < 0 || row >= mask.length) continue;
      mask.fill(255, row - (x > 0 ? 1 : 0), row + (x < size - 1 ? 2 : 1));
    }
  }
  return mask;
}

/** What the camera adds: exposure, fall-off towards the corners, and sensor noise. */
function expose(pixels: Buffer, size: number, gain: number, random: Random): void {
  for (let y = 0, i = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const [u, v] = [x / size - 0.5, y / size - 0.5];
      const light = gain * (1.04 - 0.28 * (u * u + v * v) - 0.05 * (u + v));
      const grain = random.normal(NOISE);
      for (let c = 0; c < 3; c++, i++) {
        const value = pixels[i] * light + grain + (random.next() - 0.5) * NOISE;
        pixels[i] = Math.max(0, Math.min(255, Math.round(value)));
      }
    }
  }
}

/**
 * One shot of one part, `size` pixels square.
 * A defective one is the same shot of the same part as without the defect, but for the pixels in its mask.
 * @param name picks the part: same seed and name, same part
 * @param severity 0 (subtle) to 1
 */
export async function shoot(
  seed: number,
  name: string,
  size: number,
  defect?: DefectKind,
  severity = 0.5
): Promise<Shot> {
  const part = goodPart(new Random(seed, `${name} part`));
  const shot: Shot = { pixels: await rasterise(part, size) };
  if (defect) {
    const flaw = defects[defect](new Random(seed, `${name} ${defect}`), severity);
    const flawed = await rasterise(part, size, flaw);
    shot.mask = difference(shot.pixels, flawed, size);
    shot.mask.forEach((on, i) => on && flawed.copy(shot.pixels, 3 * i, 3 * i, 3 * i + 3));
  }
  expose(shot.pixels, size, part.light.gain, new Random(seed, `${name} camera`));
  return shot;
}
