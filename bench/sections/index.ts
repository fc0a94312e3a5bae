import type { Context } from '../context';
import type { SectionResult } from '../result';
import * as backbone from './backbone';
import * as banks from './banks';
import * as fit from './fit';
import * as growth from './growth';
import * as nodeRed from './node-red';
import * as plan from './plan';
import * as score from './score';
import * as search from './search';
import * as soak from './soak';
import * as start from './start';

/** In the order in which they run; ours first in each. */
export const SECTIONS: Record<string, (context: Context) => Promise<SectionResult>> = {
  score: score.run,
  search: search.run,
  backbone: backbone.run,
  fit: fit.run,
  growth: growth.run,
  plan: plan.run,
  banks: banks.run,
  nodeRed: nodeRed.run,
  start: start.run,
  soak: soak.run
};

/** A section that fails is reported as failed; the others run all the same. */
export async function runSection(
  name: string,
  context: Context
): Promise<SectionResult & { seconds: number; error?: string }> {
  const start = performance.now();
  const seconds = (): number => Math.round((performance.now() - start) / 1000);
  try {
    return { ...(await SECTIONS[name](context)), seconds: seconds() };
  } catch (error) {
    return { rows: [], error: (error as Error).message, seconds: seconds() };
  }
}
