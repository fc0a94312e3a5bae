import fs from 'node:fs';
import { GoodpartsError } from '../../lib/engine/errors';
import { limitOf, type LimitRule } from '../../lib/engine/threshold';
import { about, picturesIn, readPicture } from '../../lib/pictures';
import { EXIT, UsageError, type Command } from '../command';
import { DEVICE, engineOptions, STORE } from '../options';
import { note, print, printJson } from '../output';
import { withEngine } from '../run';

const DEFAULT_RULE = '99%';

/** `0.8`, `99%`, `3sigma`. */
function ruleOf(text: string): LimitRule {
  const match = /^(-?\d*\.?\d+(?:e[+-]?\d+)?)(%|sigma)?$/i.exec(text.trim());
  if (!match) throw new UsageError(`--threshold takes a score, a percentile as 99%, or 3sigma, not "${text}"`);
  const value = Number(match[1]);
  if (match[2] === undefined) return { method: 'fixed', value };
  if (match[2] !== '%') return { method: 'sigma', value };
  if (value < 0 || value > 100) throw new UsageError(`--threshold: a percentile is from 0% to 100%, not "${text}"`);
  return { method: 'percentile', value };
}

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
    threshold: {
      type: 'string',
      value: 'RULE',
      help: `a score, 99% or 3sigma of the good parts' scores; default ${DEFAULT_RULE}`
    },
    version: { type: 'string', value: 'VERSION', help: 'instead of the current one' },
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
    const rule = ruleOf(args.text('threshold') ?? DEFAULT_RULE);
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
