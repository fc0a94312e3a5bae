import sharp from 'sharp';
import type { Picture } from './decode';
import type { Embeddings, Extractor, Prepared } from './features';
import { joined } from './backbone';
import { emptyRegion, inspectedRows, type Inside, type Inspection } from './region';
import type { FitSettings } from './types';

type Augment = Required<FitSettings>['augment'];

/** Pictures that are learned of each one, itself included. */
export const COPIES: Record<Augment, number> = { none: 1, flips: 4, rotations: 8 };

/** AnomalyDINO's eight turns of a reference picture. */
const ANGLES = [45, 90, 135, 180, 225, 270, 315];

/**
 * The picture and its copies that are learned as well, all of one size: mirrored both ways, or turned about its middle. What a turn
 * brings in from outside of the picture is its mirror image, so that no edge appears that no part has.
 * Source: Damm et al., AnomalyDINO (2025), sec. 3.2: rotations of few references.
 */
export async function augmented(picture: Picture, augment: Augment): Promise<Picture[]> {
  const copies: Picture[] = [picture];
  if (augment === 'flips')
    for (const [left, up] of [
      [true, false],
      [false, true],
      [true, true]
    ])
      copies.push(await mirrored(picture, left, up));
  if (augment === 'rotations') for (const angle of ANGLES) copies.push(await turned(picture, angle));
  return copies;
}

/** What is learned of a picture: its patches, those of its copies, and which of its own they are. */
export interface Learned extends Embeddings {
  /** undefined: all */
  inside?: Inside;
}

/**
 * Embeddings of a picture and its copies as those of one image: [n, D], the picture's own patches first; of a region only those inside,
 * which is mirrored and turned with the copies.
 * The copies of a good image are that image: a calibration that leaves it out leaves them all out.
 * @throws GoodpartsError `region-empty`
 */
export async function embedAugmented(
  extractor: Extractor,
  picture: Picture,
  augment: Augment,
  inspection?: Inspection
): Promise<Learned> {
  const prepared: Prepared[] = [];
  for (const copy of await augmented(picture, augment)) prepared.push(await extractor.prepare(copy));
  const { patches, ...grid } = await extractor.embed(prepared.map(p => p.input));
  const regions = (await inspection?.copies(picture, augment)) ?? [];
  const inside = regions.map((region, i) => region.inside(prepared[i], extractor.size, grid));
  if (inside[0]?.patches.length === 0) throw emptyRegion(picture);
  return {
    ...grid,
    patches: [joined(patches.map((rows, i) => inspectedRows(rows, grid.dimensions, inside[i])))],
    inside: inside[0]
  };
}

const opened = ({ data, width, height }: Picture): sharp.Sharp => sharp(data, { raw: { width, height, channels: 3 } });

async function mirrored(picture: Picture, left: boolean, up: boolean): Promise<Picture> {
  const data = await opened(picture).flop(left).flip(up).raw().toBuffer();
  return { ...picture, data };
}

async function turned(picture: Picture, angle: number): Promise<Picture> {
  const { width, height } = picture;
  const margin = Math.ceil((Math.hypot(width, height) - Math.min(width, height)) / 2) + 2;
  const sides = { left: margin, right: margin, top: margin, bottom: margin };
  const wide = await opened(picture)
    .extend({ ...sides, extendWith: 'mirror' })
    .raw()
    .toBuffer();
  const size = { width: width + 2 * margin, height: height + 2 * margin };
  const { data, info } = await opened({ data: wide, ...size })
    .rotate(angle)
    .raw()
    .toBuffer({ resolveWithObject: true });
  const window = { left: (info.width - width) >> 1, top: (info.height - height) >> 1, width, height };
  return {
    data: await opened({ data, width: info.width, height: info.height }).extract(window).raw().toBuffer(),
    width,
    height
  };
}
