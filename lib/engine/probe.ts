import type { Measuring } from './bankwork';
import { coreset } from './coreset';
import { randomStream } from './random';
import { Shadow } from './shadow';
import type { Timed } from './turns';
import { RowFile } from './workfile';

/** Drawn patches of which a small coreset is chosen, to see how fast this machine is. */
const PROBE = { patches: 8192, dimensions: 384, count: 1024, clusters: 40, latent: 12 };
/**
 * What a coreset of real patches takes, in times of the probe: for the main directions; for each patch held; for each pair of a patch and
 * a chosen one. How they relate to one another is from 22 coresets of bottle, cookie and screw by four backbones (31,744 to 214,016
 * patches, a tenth and a fiftieth of them chosen), their size from fits and plans in turns. Patches of turned copies and of tiles that
 * overlap, which resemble one another, took a share of that.
 */
const CORESET = { directions: 0.47, patch: 2.5e-5, pair: 1.72e-8, resembling: 0.74 };

export interface CoresetSize {
  /** patches that are held at most, and that all images have */
  held: number;
  patches: number;
  dimensions: number;
  bankSize: number;
  /** whether they are of copies, or of tiles that overlap */
  resembling: boolean;
}

/** Seconds of a coreset, where the probe takes so many. */
export function coresetSeconds(
  probe: number,
  { held, patches, dimensions, bankSize, resembling }: CoresetSize
): number {
  const shadow = Shadow.sizeFor(dimensions);
  const ratio = dimensions / PROBE.dimensions;
  // finding the main directions: their square, for each coordinate
  const directions = shadow < dimensions ? CORESET.directions * ratio * ((shadow - 1) / 127) ** 2 : 0;
  const each = CORESET.patch * (0.7 + 0.3 * ratio);
  const pairs = CORESET.pair * (0.2 + (0.8 * shadow) / 128);
  const alike = resembling ? CORESET.resembling : 1;
  const chosen = bankSize < held ? alike * held * (each + pairs * bankSize) : 0;
  // what does not fit is compared with what is held, and reduced now and then
  const beyond = Math.max(0, patches - held) * (each + pairs * Math.max(32768, 4 * bankSize));
  return probe * (directions + chosen + beyond);
}

/** Times the small coreset, which says how fast this machine is. */
export async function coresetProbe({ runtime, turns, folder, atEnd }: Measuring): Promise<Timed> {
  const file = await RowFile.create(folder, PROBE.dimensions);
  atEnd(() => file.close());
  await file.append(clusters());
  return turns.add(async () => {
    const { points } = await coreset(runtime, file, { count: PROBE.count, anchors: 0, seed: 0 });
    await points.release();
  });
}

/** Patches as a network gives them: some clusters, few directions, a little of all others. */
function clusters(): Float32Array {
  const { patches, dimensions, latent } = PROBE;
  const random = randomStream(7);
  const draw = (length: number): Float32Array => Float32Array.from({ length }, () => random() - 0.5);
  const axes = draw(latent * dimensions);
  const centers = draw(PROBE.clusters * latent);
  const rows = new Float32Array(patches * dimensions);
  for (let i = 0; i < patches; i++) {
    const center = Math.floor(random() * PROBE.clusters) * latent;
    for (let l = 0; l < latent; l++) {
      const along = 4 * centers[center + l] + random() - 0.5;
      for (let k = 0; k < dimensions; k++) rows[i * dimensions + k] += along * axes[l * dimensions + k];
    }
    for (let k = 0; k < dimensions; k++) rows[i * dimensions + k] += 0.5 * (random() - 0.5);
  }
  return rows;
}
