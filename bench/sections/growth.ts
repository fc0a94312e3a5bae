// What more pictures cost: time, memory and size of a detector whose bank has an upper bound.
import type { Context } from '../context';
import { fitApart, type FitRow } from '../fit-scale';
import type { Row, SectionResult } from '../result';
import { round, spread } from '../rounds';

const BANK = 4000;

export async function run({ options, jpegFolder }: Context): Promise<SectionResult> {
  const { rounds, threads, quick, long } = options;
  const sizes = quick ? [10, 30] : [100, 1000, ...(long ? [10_000] : [])];
  const found = new Map<number, FitRow[]>(sizes.map(images => [images, []]));
  for (let i = 0; i < rounds; i++)
    for (const [images, fits] of found) {
      // these take minutes: once
      if (i > 0 && images >= 1000) continue;
      fits.push(fitApart({ folder: jpegFolder, images, backbone: 'embedded', bankSize: BANK, threads }));
    }
  return {
    rows: [...found].map(([images, fits]) => rowOf(images, fits)),
    notes: [
      `Embedded backbone, at most ${BANK} patches in the bank. Pictures beyond those that there are are copies, shifted by up to 2 % and lit up to 5 % differently.`
    ]
  };
}

function rowOf(images: number, fits: FitRow[]): Row {
  return {
    images,
    seconds: spread(fits.map(fit => fit.fitSeconds)),
    peakMb: spread(fits.map(fit => fit.peakMb)),
    bank: fits[0].bankSize,
    detectorMb: fits[0].detectorMb,
    scoreMs: spread(fits.flatMap(fit => fit.scoreMs)),
    radius: round(fits[0].radius)
  };
}
