import type { FitResult } from '../../lib/engine';
import { GoodpartsError } from '../../lib/engine/errors';
import { fitFiles, picturesIn } from '../../lib/pictures';
import { trainingPictures } from '../../lib/mvtec';
import { EXIT, type Command } from '../command';
import { DEVICE, engineOptions, fitSettings, ROOM, SETTINGS, STORE } from '../options';
import { print, printJson, Progress } from '../output';
import { interruptible, withEngine } from '../run';

/** What became of the pictures, in a few words. */
function outcome({ patches, bankSize, training }: FitResult): string {
  if (patches) return `${bankSize} of ${patches} patches kept`;
  if (!training) return 'network calibrated';
  const { curve, best, stoppedEarly } = training;
  const early = stoppedEarly ? ', ended early' : '';
  return `network trained for ${curve.length} epochs${early}, held-out loss ${curve[best - 1].heldOut.toPrecision(3)} in epoch ${best}`;
}

export const fit: Command = {
  summary: 'learn good parts: make a new version of a detector and use it from now on',
  operands: '<detector> <folder>',
  options: {
    ...SETTINGS,
    ...ROOM,
    ...DEVICE,
    ...STORE,
    json: { type: 'boolean', help: 'print the result as one JSON object' }
  },
  notes: `
The folder holds pictures of good parts, or is a class folder in MVTec's layout, whose train/good is taken.
A picture that cannot be read is named and left out.`,
  async run(args) {
    const [name, folder] = args.operands;
    const settings = await fitSettings(args);
    const options = engineOptions(args);
    const files = (await trainingPictures(folder)) ?? (await picturesIn(folder));
    if (files.length === 0) throw new GoodpartsError('fit-no-images', `${folder} holds no picture.`);
    const progress = new Progress();
    let bad = 0;
    const onBad = (error: Error) => {
      bad++;
      progress.note(`goodparts: left out: ${error.message}`);
    };
    const result = await interruptible(signal =>
      withEngine(options, engine =>
        fitFiles(engine, name, files, settings, { signal, onProgress: progress.report, onBad })
      )
    ).finally(progress.stop);
    if (args.flag('json')) printJson(result);
    else {
      const { version, images, device, timing } = result;
      const left = bad ? `, ${bad} left out` : '';
      const kept = outcome(result);
      print(
        `${result.name} ${version}: ${images} good pictures${left}, ${kept}, ` +
          `${(timing.total / 1000).toFixed(1)} s on ${device.used}${device.note ? ` (${device.note})` : ''}`
      );
      if (result.note) print(result.note);
    }
    return EXIT.fine;
  }
};
