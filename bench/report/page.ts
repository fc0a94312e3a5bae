// Pages of docs/ whose text is written by hand and whose figures come from measurements: what stands between markers is replaced.
import fs from 'node:fs';

/** Replaces what stands between `<!-- name -->` and `<!-- /name -->`. */
function fill(page: string, name: string, text: string): string {
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`The page has no place for "${name}": ${begin} ... ${end} is missing.`);
  return `${page.slice(0, from + begin.length)}\n${text}\n${page.slice(to)}`;
}

/** Names of a page's places. */
export const places = (file: string): string[] =>
  [...fs.readFileSync(file, 'utf8').matchAll(/<!-- \/([\w-]+) -->/g)].map(([, name]) => name);

/** @throws Error when the page has no place for one of the texts */
export function fillIn(file: string, texts: Map<string, string>): void {
  let page = fs.readFileSync(file, 'utf8');
  for (const [name, text] of texts) page = fill(page, name, text);
  fs.writeFileSync(file, page);
}
