// `npm run bench:report -- FILE`: docs/performance.md and its drawings from what `npm run bench -- --json FILE` wrote. The text of the page is
// written by hand; what stands between markers is replaced.
import fs from 'node:fs';
import path from 'node:path';
import type { BenchResult } from '../result';
import { drawPlots } from './plots';
import { describeMachine, table } from './text';

const DOCS = path.resolve(__dirname, '../../../docs');

/** Replaces what stands between `<!-- name -->` and `<!-- /name -->`. */
function fill(page: string, name: string, text: string): string {
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`The page has no place for "${name}": ${begin} ... ${end} is missing.`);
  return `${page.slice(0, from + begin.length)}\n${text}\n${page.slice(to)}`;
}

/** Names of the page's places. */
const places = (page: string): string[] => [...page.matchAll(/<!-- \/([\w-]+) -->/g)].map(([, name]) => name);

/**
 * Fills in the page and writes the drawings beside it.
 * @throws Error when the result has a section that the page has no place for
 */
export async function report(result: BenchResult, docs = DOCS): Promise<void> {
  const file = path.join(docs, 'performance.md');
  let page = fs.readFileSync(file, 'utf8');
  const warning = result.quick ? '**From a quick run: these figures mean nothing.**\n\n' : '';
  const texts = new Map([['machine', warning + describeMachine(result).replaceAll('\n', '  \n')]]);
  for (const [name, section] of Object.entries(result.sections)) texts.set(name, table(name, section));
  for (const name of places(page)) if (!texts.has(name)) texts.set(name, 'Not measured in this run.');
  for (const [name, text] of texts) page = fill(page, name, text);
  fs.mkdirSync(path.join(docs, 'images'), { recursive: true });
  for (const [name, svg] of await drawPlots(result))
    fs.writeFileSync(path.join(docs, `images/performance-${name}.svg`), svg + '\n');
  fs.writeFileSync(file, page);
}

if (require.main === module) {
  const file = process.argv[2];
  if (!file) throw new Error('Give the file that `npm run bench -- --json FILE` wrote.');
  void report(JSON.parse(fs.readFileSync(file, 'utf8')) as BenchResult);
}
