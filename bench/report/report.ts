// `npm run bench:report -- FILE`: docs/performance.md and its drawings from what `npm run bench -- --json FILE` wrote. The text of the page is
// written by hand; what stands between markers is replaced.
import fs from 'node:fs';
import path from 'node:path';
import type { BenchResult } from '../result';
import { fillIn, places } from './page';
import { drawPlots } from './plots';
import { describeMachine, table } from './text';

const DOCS = path.resolve(__dirname, '../../../docs');

/**
 * Fills in the page and writes the drawings beside it.
 * @throws Error when the result has a section that the page has no place for
 */
export async function report(result: BenchResult, docs = DOCS): Promise<void> {
  const file = path.join(docs, 'performance.md');
  const warning = result.quick ? '**From a quick run: these figures mean nothing.**\n\n' : '';
  const texts = new Map([['machine', warning + describeMachine(result).replaceAll('\n', '  \n')]]);
  for (const [name, section] of Object.entries(result.sections)) texts.set(name, table(name, section));
  for (const name of places(file)) if (!texts.has(name)) texts.set(name, 'Not measured in this run.');
  fillIn(file, texts);
  fs.mkdirSync(path.join(docs, 'images'), { recursive: true });
  for (const [name, svg] of await drawPlots(result))
    fs.writeFileSync(path.join(docs, `images/performance-${name}.svg`), svg + '\n');
}

if (require.main === module) {
  const file = process.argv[2];
  if (!file) throw new Error('Give the file that `npm run bench -- --json FILE` wrote.');
  void report(JSON.parse(fs.readFileSync(file, 'utf8')) as BenchResult);
}
