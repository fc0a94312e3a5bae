import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { filesOf, parseCatalogue, readCatalogue, type Catalogue } from '../../lib/engine/catalogue';
import { megabytes } from '../../lib/engine/library';
import { ROOT, shared } from '../support';

const FILE = path.join(ROOT, 'models/catalogue.json');
const fresh = () => JSON.parse(fs.readFileSync(FILE, 'utf8')) as Catalogue;

/** The row of docs/backbones.md. */
const rowOf = (entry: Catalogue['catalogue'][number]) =>
  `| \`${entry.id}\` | ${filesOf(entry)
    .map(({ name }) => `\`${name}\``)
    .join('<br>')} | ${filesOf(entry)
    .map(({ bytes }) => (bytes === null ? '?' : megabytes(bytes)))
    .join('<br>')} | ${entry.licence} | ${entry.caveat} | ${filesOf(entry)
    .map(({ sha256 }) => `\`${sha256}\``)
    .join('<br>')} |`;

describe('catalogue of backbones', () => {
  it('is as it has to be', () => {
    const { catalogue } = parseCatalogue(fresh(), FILE);
    assert.ok(catalogue.length >= 17);
    assert.equal(catalogue.filter(entry => entry.default).length, 1);
    assert.equal(readCatalogue().catalogue.length, catalogue.length);
  });

  it('is refused with any of these in it', () => {
    const spoil = (change: (catalogue: Catalogue) => void, says: RegExp) => {
      const catalogue = fresh();
      change(catalogue);
      assert.throws(() => parseCatalogue(catalogue, 'it'), { message: says });
    };
    const first = (fields: object) => (c: Catalogue) => void Object.assign(c.catalogue[0], fields);
    spoil(first({ id: '../x' }), /entry "\.\.\/x" has a wrong "id"/);
    spoil(first({ id: 'embedded' }), /wrong "id"/);
    spoil(first({ id: 'RESNET18.TV1' }), /resnet18\.tv1 is in it twice/);
    spoil(first({ url: 'file:///etc/passwd' }), /wrong "url"/);
    spoil(first({ url: 'https://x.test/' }), /do not end in file names/);
    spoil(first({ url: 'https://x.test/..%2fx' }), /do not end in file names/);
    spoil(first({ mirrors: ['x'] }), /wrong "mirrors"/);
    spoil(first({ sha256: 'AB'.repeat(32) }), /wrong "sha256"/);
    spoil(first({ bytes: -1 }), /wrong "bytes"/);
    spoil(first({ licence: '' }), /wrong "licence"/);
    spoil(first({ caveat: 'toString' }), /no caveat "toString"/);
    spoil(first({ mean: [0, 0] }), /wrong "mean"/);
    spoil(first({ std: [1, 1, 0] }), /wrong "std"/);
    spoil(first({ taps: 'structural' }), /wrong "taps"/);
    spoil(first({ input: { name: 'x', layout: 'CHWN' } }), /wrong "input"/);
    spoil(first({ sha265: 'x' }), /wrong "sha265"/);
    spoil(c => c.catalogue[16].data!.push({ ...c.catalogue[16].data![0] }), /each another one/);
    spoil(c => delete (c as Partial<Catalogue>).caveats, /no "caveats"/);
    for (const nothing of [null, 7, [], {}]) assert.throws(() => parseCatalogue(nothing, 'it'), /no list "catalogue"/);
  });

  it('has what the facts say', function () {
    type Fact = { id: string; url?: string; sha256?: string; bytes?: number | null; files?: Fact[]; taps: unknown };
    const facts = JSON.parse(fs.readFileSync(shared(this, 'facts/catalogue.json'), 'utf8')) as { catalogue: Fact[] };
    const known = new Map(fresh().catalogue.map(entry => [entry.id, entry]));
    assert.deepEqual(
      [...known.keys()],
      facts.catalogue.map(({ id }) => id)
    );
    for (const fact of facts.catalogue) {
      const found = known.get(fact.id)!;
      const pick = ({ url, sha256, bytes }: Pick<Fact, 'url' | 'sha256' | 'bytes'>) => ({ url, sha256, bytes });
      assert.deepEqual(filesOf(found).map(pick), (fact.files ?? [fact]).map(pick), fact.id);
      assert.deepEqual(found.taps ?? 'structural', fact.taps, fact.id);
    }
  });

  it('is listed in the documentation, and its caveats in every language of the editor', () => {
    const page = fs.readFileSync(path.join(ROOT, 'docs/backbones.md'), 'utf8');
    const { catalogue, caveats } = fresh();
    for (const entry of catalogue) assert.ok(page.includes(rowOf(entry)), `docs/backbones.md lacks\n${rowOf(entry)}`);
    assert.equal(page.match(/^\| `/gm)?.length, catalogue.length, 'rows of backbones that are no more');
    for (const text of Object.values(caveats)) assert.ok(page.includes(text), text);
    const locales = path.join(ROOT, 'nodes/anomaly-model/locales');
    for (const language of fs.readdirSync(locales)) {
      const texts = JSON.parse(fs.readFileSync(path.join(locales, language, 'anomaly-model.json'), 'utf8')) as {
        caveat: Record<string, string>;
      };
      assert.deepEqual(Object.keys(texts.caveat).sort(), Object.keys(caveats).sort(), language);
    }
  });

  it('is the only place that names a host to fetch from', () => {
    const hosts = new Set(
      fresh().catalogue.flatMap(e => filesOf(e).flatMap(f => [f.url, ...f.mirrors].map(u => new URL(u).host)))
    );
    const look = (folder: string): string[] =>
      (fs.readdirSync(path.join(ROOT, folder), { recursive: true }) as string[])
        .filter(name => /\.(ts|js|mjs|json|html|md)$/.test(name))
        .map(name => path.join(folder, name));
    hosts.delete('github.com'); // the package's own home
    for (const file of ['lib', 'cli', 'nodes', 'docs', 'models'].flatMap(look))
      if (file !== path.join('models', 'catalogue.json'))
        for (const host of hosts)
          assert.ok(!fs.readFileSync(path.join(ROOT, file), 'utf8').includes(host), `${file} names ${host}`);
  });
});
