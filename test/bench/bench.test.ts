import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { parseOptions } from '../../bench/options';
import { PLOTS } from '../../bench/report/plots';
import { report } from '../../bench/report/report';
import type { BenchResult } from '../../bench/result';
import { spread } from '../../bench/rounds';
import { SECTIONS } from '../../bench/sections';
import { truth } from '../../bench/sections/search-truth';
import { ROOT, scratch } from '../support';

const names = Object.keys(SECTIONS);

/** What a quick run wrote, shortened; its figures mean nothing. */
const fixture = (): BenchResult =>
  JSON.parse(fs.readFileSync(path.join(ROOT, 'test/fixtures/bench.json'), 'utf8')) as BenchResult;

/** A copy of the page as it is in the repository, filled in; the folder of the copy. */
async function page(result: BenchResult): Promise<{ text: string; images: string }> {
  const docs = scratch();
  fs.copyFileSync(path.join(ROOT, 'docs/performance.md'), path.join(docs, 'performance.md'));
  await report(result, docs);
  return { text: fs.readFileSync(path.join(docs, 'performance.md'), 'utf8'), images: path.join(docs, 'images') };
}

const between = (text: string, name: string): string => text.split(`<!-- ${name} -->`)[1].split(`<!-- /${name} -->`)[0];

describe('npm run bench: options', () => {
  it('has three rounds and all cores unless told otherwise', () => {
    const { rounds, threads, only, long, quick } = parseOptions([], names);
    assert.deepEqual([rounds, only, long, quick], [3, undefined, false, false]);
    assert.ok(threads >= 1);
  });

  it('takes all of them', () => {
    const args = '--json a.json --only score,search --images b --rounds 5 --seconds 7 --threads 2 --long --soak 1.5';
    assert.deepEqual(parseOptions(args.split(' '), names), {
      json: 'a.json',
      only: ['score', 'search'],
      images: 'b',
      rounds: 5,
      seconds: 7,
      threads: 2,
      long: true,
      quick: false,
      soak: 1.5
    });
  });

  it('says what it does not know', () => {
    assert.throws(() => parseOptions(['--only', 'score,speed'], names), /"speed" is none/);
    assert.throws(() => parseOptions(['--rounds', '0'], names), /--rounds takes a number from 1 on; it is 0/);
    assert.throws(() => parseOptions(['--threads', 'two'], names), /--threads/);
    assert.throws(() => parseOptions(['--fast'], names), /fast/);
  });
});

describe('npm run bench: figures', () => {
  it('gives median and spread', () =>
    assert.deepEqual(spread([5, 1, 2, 3, 4]), { median: 3, p5: 1.2, p95: 4.8, n: 5 }));

  it('knows the nearest patches and the image score in double precision', () => {
    const bank = Float32Array.of(0, 0, 3, 0, 0, 4, 10, 10);
    const patches = Float32Array.of(1, 0, 0, 9);
    const exact = truth(patches, bank, 2, Float32Array.of(0, 1, 3, 2), 2);
    assert.equal(exact.share(Float32Array.of(0, 2)), 1);
    assert.equal(exact.share(Float32Array.of(1, 2)), 0.5);
    // the second patch is farthest, 5 from (0, 4); all bank patches are the neighbours of that
    const powers = [5, 9, Math.hypot(3, 9), Math.hypot(10, 1)].map(Math.exp);
    const weight = 1 - powers[0] / powers.reduce((a, b) => a + b);
    assert.ok(Math.abs(exact.score - 5 * weight) < 1e-12);
  });
});

describe('npm run bench:report', () => {
  it('has a result of every section to show', () => assert.deepEqual(Object.keys(fixture().sections), names));

  it('fills in a table for every section, and machine and date', async () => {
    const result = fixture();
    const { text } = await page(result);
    for (const name of names) {
      const lines = between(text, name).trim().split('\n');
      const rows = lines.filter(line => line.startsWith('|'));
      assert.equal(rows.length, 2 + result.sections[name].rows.length, name);
      assert.equal(new Set(rows.map(row => row.split('|').length)).size, 1, name);
      for (const row of rows) assert.doesNotMatch(row, /NaN|undefined|object/, name);
    }
    assert.match(between(text, 'machine'), new RegExp(`${result.date}: ${result.machine.cpu.slice(0, 5)}`));
    assert.match(between(text, 'machine'), /these figures mean nothing/);
  });

  it('gives the same page when it is made again', async () => {
    const { text, images } = await page(fixture());
    await report(fixture(), path.dirname(images));
    assert.equal(fs.readFileSync(path.join(images, '../performance.md'), 'utf8'), text);
  });

  it('draws every plot as SVG that can be rendered, with date and machine', async () => {
    const result = fixture();
    const { images, text } = await page(result);
    for (const name of Object.keys(PLOTS)) {
      const file = path.join(images, `performance-${name}.svg`);
      assert.ok(text.includes(`images/performance-${name}.svg`), `${name} is not on the page`);
      const svg = fs.readFileSync(file, 'utf8');
      assert.doesNotMatch(svg, /NaN|undefined|Infinity/, name);
      assert.ok(svg.includes(result.date), name);
      const { width, format } = await sharp(file).metadata();
      assert.ok(format === 'svg' && width! > 300, name);
      const { channels } = await sharp(file).flatten({ background: '#fff' }).stats();
      assert.ok(channels[0].stdev > 3, `${name} is empty`);
    }
    const score = fs.readFileSync(path.join(images, 'performance-score.svg'), 'utf8');
    for (const { system } of result.sections.score.rows) assert.ok(score.includes(String(system)), String(system));
  });

  it('says that a section failed or was not measured, and shows the others', async () => {
    const result = fixture();
    result.sections.banks = { rows: [], seconds: 1, error: 'no memory left' };
    delete result.sections.soak;
    const { text, images } = await page(result);
    assert.match(between(text, 'banks'), /failed: no memory left/);
    assert.match(between(text, 'soak'), /Not measured in this run/);
    assert.ok(!fs.existsSync(path.join(images, 'performance-banks.svg')));
    assert.match(between(text, 'score'), /Goodparts/);
  });
});
