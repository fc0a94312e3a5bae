// From the start of a Node-RED process to the first score.
import path from 'node:path';
import { coldStart, type Parts } from '../cold-start';
import { storeOf, type Context } from '../context';
import type { SectionResult } from '../result';
import { spread } from '../rounds';

const NAMES: Record<keyof Parts, string> = {
  flowsStarted: 'flows started',
  detectorLoaded: 'detector loaded',
  firstScore: 'first score'
};

export async function run(context: Context): Promise<SectionResult> {
  const { folder, pictures, backbones, options } = context;
  const found = await coldStart(storeOf(context, backbones[0]), pictures[0], path.join(folder, 'cold'), options.rounds);
  const rows = (Object.keys(NAMES) as (keyof Parts)[]).map(part => ({
    what: NAMES[part],
    ms: spread(found.map(parts => parts[part]))
  }));
  return { rows, notes: ['Embedded backbone, the bank of the section score.'] };
}
