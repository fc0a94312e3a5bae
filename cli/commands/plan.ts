import type { FitPlan, PlanRequest } from '../../lib/engine';
import { readPicture } from '../../lib/pictures';
import { EXIT, UsageError, type Arguments, type Command } from '../command';
import { DEVICE, engineOptions, fitSettings, ROOM, SETTINGS, sizeOf, STORE } from '../options';
import { print, printJson, table } from '../output';
import { withEngine } from '../run';

/** `1024x768` or a file. */
async function pictureOf(text: string | undefined): Promise<PlanRequest['picture']> {
  if (text === undefined) return undefined;
  return /^\d+(x\d+)?$/i.test(text) ? sizeOf(text, 'picture') : readPicture(text);
}

function imagesOf(args: Arguments): number {
  const images = args.number('images');
  if (images === undefined) throw new UsageError('give the number of good pictures with --images');
  if (!Number.isInteger(images) || images < 1 || images > 1e7)
    throw new UsageError(`--images takes a whole number from 1 to 10000000, not ${images}`);
  return images;
}

const seconds = (s: number): string => (s < 90 ? `${s.toFixed(1)} s` : `${(s / 60).toFixed(1)} min`);
const mb = (n: number): string => `${n.toFixed(n < 100 ? 1 : 0)} MB`;

function readable({ images, patches, bankSize, input, fitSeconds, ...plan }: FitPlan): string {
  const { used, note } = plan.device;
  const kept = patches ? `, ${bankSize} of ${patches} patches kept` : '';
  const trained = fitSeconds.training === undefined ? [] : [['- training', seconds(fitSeconds.training)]];
  const rows = [
    ['learning', `${images} pictures at ${input.width} x ${input.height}${kept}`],
    ['computed on', `${used}${note ? ` (${note})` : ''}`],
    ['time of the fit', seconds(fitSeconds.total)],
    ['- pictures', seconds(fitSeconds.images)],
    ['- choosing patches', seconds(fitSeconds.coreset)],
    ...trained,
    ['- calibration', seconds(fitSeconds.calibration)],
    ['- saving', seconds(fitSeconds.save)],
    ['memory while fitting', mb(plan.peakMemoryMb)],
    ['disk while fitting', mb(plan.diskMb)],
    ['detector on disk', mb(plan.detectorMb)],
    ['time of one score', `${plan.scoreMs.toFixed(0)} ms`]
  ];
  return table(['what', 'expected'], rows);
}

export const plan: Command = {
  summary: 'how long a fit will take, what memory and disk it needs, how fast it will score: measured in some seconds',
  operands: '',
  options: {
    images: { type: 'string', value: 'N', help: 'good pictures that there will be' },
    picture: {
      type: 'string',
      value: 'WxH|FILE',
      help: 'their size, or one of them, which is more exact; default 1024x1024'
    },
    ...SETTINGS,
    ...ROOM,
    ...DEVICE,
    ...STORE,
    json: { type: 'boolean', help: 'print the plan as one JSON object' }
  },
  notes: 'Saves nothing. Exits with 1 when the fit would be refused.',
  async run(args) {
    const request = { images: imagesOf(args), picture: await pictureOf(args.text('picture')) };
    const settings = await fitSettings(args);
    const result = await withEngine(engineOptions(args), engine => engine.plan(settings, request));
    if (args.flag('json')) printJson(result);
    else {
      print(readable(result));
      if (result.refusal) print(`refused: ${result.refusal}`);
    }
    return result.refusal ? EXIT.failed : EXIT.fine;
  }
};
