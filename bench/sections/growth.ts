// What more pictures cost: time, memory and size of a detector whose bank has an upper bound.
import type { Context } from '../context';
import { fitApart, type FitRow } from '../fit-scale';
import type { Row, SectionResult } from '../result';
import { round, spread } from '../rounds';

const BANK = 2500;
/** Input of the network, px; ten thousand pictures at the usual 256 take most of an hour. */
const [USUAL, SMALL] = [256, 128];

interface Kind {
  images: number;
  size: number;
}

export async function run({ options, jpegFolder }: Context): Promise<SectionResult> {
  const { rounds, threads, quick, long } = options;
  const usual = (quick ? [10, 30] : [100, 1000]).map(images => ({ images, size: USUAL }));
  const many = long ? [100, 1000, 3000, 10_000].map(images => ({ images, size: SMALL })) : [];
  const found = new Map<Kind, FitRow[]>([...usual, ...many].map(kind => [kind, []]));
  for (let i = 0; i < rounds; i++)
    for (const [{ images, size }, fits] of found) {
      // these take minutes: once
      if (i > 0 && images >= 1000) continue;
      const settings = { bankSize: BANK, inputWidth: size, inputHeight: size };
      fits.push(fitApart({ folder: jpegFolder, images, settings, threads }));
    }
  return {
    rows: [...found].map(([kind, fits]) => rowOf(kind, fits)),
    notes: [
      `Embedded backbone, ${BANK} patches in the bank. Pictures beyond those that there are are copies, shifted by up to 2 % and lit up to 5 % differently.`
    ]
  };
}

function rowOf({ images, size }: Kind, fits: FitRow[]): Row {
  return {
    images,
    size,
    seconds: spread(fits.map(fit => fit.fitSeconds)),
    peakMb: spread(fits.map(fit => fit.peakMb)),
    bank: fits[0].bankSize,
    detectorMb: fits[0].detectorMb,
    scoreMs: spread(fits.flatMap(fit => fit.scoreMs)),
    radius: round(fits[0].radius)
  };
}
