import fs from 'node:fs';
import { GoodpartsError } from '../../lib/engine/errors';
import { limitOf } from '../../lib/engine/threshold';
import { about, picturesIn, readPicture } from '../../lib/pictures';
import { EXIT, type Command } from '../command';
import { DEVICE, engineOptions, LIMIT, limitRule, STORE, VERSION } from '../options';
import { note, print, printJson } from '../output';
import { withEngine } from '../run';

/** Folders stand for the pictures in them. */
async function filesOf(operands: string[]): Promise<string[]> {
  const files = [];
  for (const operand of operands) {
    if (fs.statSync(operand, { throwIfNoEntry: false })?.isDirectory()) files.push(...(await picturesIn(operand)));
    else files.push(operand);
  }
  return files;
}

export const score: Command = {
  summary: 'score pictures with a detector',
  operands: '<detector> <files...>',
  options: {
    ...LIMIT,
    ...VERSION,
    'fail-on-ng': { type: 'boolean', help: 'exit with 1 when a picture is NG' },
    json: { type: 'boolean', help: 'one JSON object a line and picture' },
    ...DEVICE,
    ...STORE
  },
  notes: `
Prints verdict, score and file of each picture, one a line; NG is a score above the threshold. A folder stands for the pictures in it.
Pictures that cannot be scored are named on stderr; the others are scored all the same, and the exit code is 1.`,
  async run(args) {
    const [name, ...operands] = args.operands;
    const rule = limitRule(args);
    const version = args.text('version');
    const json = args.flag('json');
    const files = await filesOf(operands);
    if (files.length === 0) throw new GoodpartsError('path-missing', `There is no picture in ${operands.join(', ')}.`);
    let failed = 0;
    let ng = 0;
    await withEngine(engineOptions(args), async engine => {
      const threshold = limitOf(rule, (await engine.load(name, version)).calibration.scores);
      for (const file of files) {
        try {
          const [result] = await engine.score(name, [await readPicture(file)], { version, map: false });
          if (result instanceof GoodpartsError) throw result;
          const isAnomaly = result.score > threshold;
          if (isAnomaly) ng++;
          if (result.note) note(`goodparts: ${file}: ${result.note}`);
          if (json) printJson({ file, ...result, threshold, verdict: isAnomaly ? 'ng' : 'ok', isAnomaly });
          else print(`${isAnomaly ? 'NG' : 'OK'}  ${result.score.toFixed(4)}  ${file}`);
        } catch (error) {
          const named = about(file, error);
          if (!(named instanceof GoodpartsError) || named.code.startsWith('detector-')) throw named;
          failed++;
          note(`goodparts: ${named.message}`);
          if (json) printJson({ file, error: { code: named.code, message: named.message } });
        }
      }
    });
    return failed > 0 || (ng > 0 && args.flag('fail-on-ng')) ? EXIT.failed : EXIT.fine;
  }
};
