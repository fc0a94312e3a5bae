// What `goodparts plan` says before a fit, and what the fit then takes: each in a process of its own, one right after the other.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Engine } from '../../lib/engine';
import { FIT_MALLOC } from '../../lib/host/supervisor';
import type { FitPlan, FitSettings, InspectedRegion } from '../../lib/engine/types';
import { apart } from '../apart';
import type { Context } from '../context';
import { fitApart, type FitRow } from '../fit-scale';
import type { Row, SectionResult } from '../result';
import { spread } from '../rounds';

interface Job {
  settings: FitSettings;
  images: number;
  /** the picture that is meant */
  picture: string;
  threads: number;
}

interface Case {
  what: string;
  images: number;
  settings: FitSettings;
}

/** In MB of 10^6 bytes. */
const MEBIBYTE = 1.048576;
/** As near as a plan is meant to be. */
const WITHIN = 0.25;
/** The lower half of the picture. */
const REGION: InspectedRegion = {
  include: [
    [
      [0, 0.5],
      [1, 0.5],
      [1, 1],
      [0, 1]
    ]
  ],
  exclude: []
};

export async function work({ settings, images, picture, threads }: Job): Promise<FitPlan> {
  const store = fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-plan-'));
  try {
    return await new Engine({ store, threads, device: 'cpu' }).plan(settings, {
      images,
      picture: fs.readFileSync(picture)
    });
  } finally {
    fs.rmSync(store, { recursive: true, force: true });
  }
}

export async function run(context: Context): Promise<SectionResult> {
  const { quick, threads, rounds } = context.options;
  const [picture] = context.pictures;
  const cases = casesOf(context).slice(0, quick ? 1 : undefined);
  const found = cases.map((): Pair[] => []);
  for (let round = 0; round < rounds; round++)
    cases.forEach(({ images, settings }, i) => {
      const plan = apart<FitPlan>(__filename, { settings, images, picture, threads } satisfies Job, FIT_MALLOC);
      found[i].push({ plan, fit: fitApart({ folder: context.jpegFolder, images, settings, threads }) });
    });
  return {
    rows: cases.map(({ what }, i) => rowOf(what, found[i])),
    notes: ['Predicted / measured, medians of the rounds; MB are 10^6 bytes.', singles(found.flat())]
  };
}

function casesOf({ options, backbones }: Context): Case[] {
  const images = options.quick ? 10 : 100;
  const [, second, third] = backbones;
  return [
    { what: 'bank of 2,000', images, settings: { bankSize: 2000 } },
    { what: 'a tenth of the patches', images, settings: {} },
    { what: 'region: half of the picture', images, settings: { region: REGION } },
    { what: 'tiles of 512 px', images: images / 2, settings: { tile: 512, bankSize: 10_000 } },
    { what: 'turned copies', images: images / 5, settings: { augment: 'rotations' } },
    ...(second
      ? [
          { what: second.name, images, settings: { backbone: second.file } },
          { what: `embedded and ${second.name}`, images: images / 2, settings: { secondBackbone: second.file } }
        ]
      : []),
    // the patches of random weights lie in no main directions: the hardest to choose from
    ...(third ? [{ what: third.name, images: 2 * images, settings: { backbone: third.file } }] : []),
    { what: 'autoencoder, 20 epochs', images: images / 5, settings: { method: 'autoencoder', epochs: 20 } }
  ];
}

interface Pair {
  plan: FitPlan;
  fit: FitRow;
}

interface Prediction {
  what: string;
  predicted(plan: FitPlan): number;
  measured(fit: FitRow): number;
}

/** What is predicted and measured, under the names of its columns. */
const PREDICTIONS: Record<string, Prediction> = {
  seconds: {
    what: 'time',
    predicted: plan => plan.fitSeconds.total,
    measured: fit => fit.fitSeconds
  },
  peakMb: {
    what: 'memory',
    predicted: plan => MEBIBYTE * plan.peakMemoryMb,
    measured: fit => fit.peakMb
  },
  detectorMb: {
    what: 'size',
    predicted: plan => MEBIBYTE * plan.detectorMb,
    measured: fit => fit.detectorMb
  },
  scoreMs: {
    what: 'score',
    predicted: plan => plan.scoreMs,
    measured: fit => spread(fit.scoreMs).median
  }
};

function rowOf(what: string, pairs: Pair[]): Row {
  const medians = ({ predicted, measured }: Prediction): string =>
    [pairs.map(({ plan }) => predicted(plan)), pairs.map(({ fit }) => measured(fit))]
      .map(values => spread(values).median.toLocaleString('en-US'))
      .join(' / ');
  const cells = Object.entries(PREDICTIONS).map(([column, figure]) => [column, medians(figure)]);
  return { what, images: pairs[0].plan.images, ...Object.fromEntries(cells) };
}

/** How far single plans are off, which the medians do not show. */
function singles(pairs: Pair[]): string {
  const counts = Object.values(PREDICTIONS).map(({ what, predicted, measured }) => {
    const off = pairs.map(({ plan, fit }) => predicted(plan) / measured(fit) - 1).sort((a, b) => a - b);
    const within = off.filter(share => Math.abs(share) <= WITHIN).length;
    return `${what} ${within} (${percent(off[0])} to ${percent(off.at(-1)!)})`;
  });
  return `Of ${pairs.length} single plans, each against the fit after it, within ${100 * WITHIN} %: ${counts.join(', ')}.`;
}

const percent = (share: number): string => `${share < 0 ? '' : '+'}${(100 * share).toFixed(0)} %`;
