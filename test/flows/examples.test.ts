import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import type { FitResult } from '../../lib/engine';
import type { Judged } from '../../lib/red/judge';
import { writeSample } from '../../lib/sample';
import { part, parts, put, ROOT, scratch } from '../support';
import { Editor, type FlowNode } from './editor';
import { getJson, startNodeRed, until, type NodeRed } from './node-red';
import { INSTALLING, modulesOf } from './palette';

const folder = path.join(ROOT, 'examples');
const files = fs.readdirSync(folder).filter(name => name.endsWith('.json'));
const read = (file: string): FlowNode[] => JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8'));

type Refusal = { error: string; code: string };
type Counts = Record<Judged['verdict'] | 'dropped', number>;

describe('examples', function () {
  this.timeout(30_000);
  let nodeRed: NodeRed;
  let editor: Editor;

  before(async function () {
    this.timeout(INSTALLING);
    const [empty, data] = [path.join(scratch(), 'flows.json'), path.join(scratch(), 'flange')];
    put(empty, '[]');
    await writeSample(data, { train: 2, test: 1, size: 96 });
    const palette = modulesOf(files.flatMap(read));
    nodeRed = await startNodeRed({ flows: empty, env: { GOODPARTS_DATA: data }, palette });
    editor = await new Editor(nodeRed).opened();
  });
  after(async () => {
    editor?.close();
    if (nodeRed) assert.equal(await nodeRed.stop(), 0);
  });

  const nothingWrong = () => {
    assert.deepEqual(editor.debugged('errors'), []);
    assert.deepEqual(
      nodeRed.log.filter(line => /\[error\]/.test(line)),
      []
    );
  };

  it('have random ids, no two the same, and say what they do', () => {
    const all = files.flatMap(read);
    assert.equal(new Set(all.map(node => node.id)).size, all.length);
    assert.ok(all.every(node => /^[0-9a-f]{16}$/.test(node.id)));
    for (const file of files)
      for (const type of ['comment', 'catch'])
        assert.ok(
          read(file).some(node => node.type === type),
          `${file} has no ${type} node`
        );
  });

  it('are in the Import dialog', async () => {
    const listed = await getJson<unknown>(`${nodeRed.url}/library/examples/flows/@goodparts/node-red-anomaly/`);
    const names = JSON.stringify(listed);
    for (const file of files) assert.ok(names.includes(path.basename(file, '.json')), `${file}: ${names}`);
  });

  for (const file of files)
    it(`${file} starts in Node-RED`, async () => {
      const lines = await editor.deploy(read(file));
      // the OPC UA palette warns of every connection without a user; the example has none
      const logged = lines.filter(line => !/userIdentity is ANONYMOUS/.test(line)).join('\n');
      assert.match(logged, /Started flows/);
      assert.doesNotMatch(logged, /missing types|\[(error|warn)\]/);
    });

  describe('inspect-by-http.json', () => {
    const ask = (address: string, options: RequestInit = {}) =>
      fetch(nodeRed.url + address, { method: 'POST', ...options });
    const picture = (body: Buffer): RequestInit => ({
      body: new Uint8Array(body),
      headers: { 'content-type': 'image/png' }
    });
    const form = (pictures: Buffer[]): RequestInit => {
      const body = new FormData();
      pictures.forEach((bytes, i) => body.append('file', new Blob([new Uint8Array(bytes)]), `${i}.png`));
      return { body };
    };
    const json = async <T>(response: Promise<Response>, status = 200): Promise<T> => {
      const answer = await response;
      assert.equal(answer.status, status);
      return (await answer.json()) as T;
    };

    before(() => editor.deploy(read('inspect-by-http.json')));

    it('learns from bodies and from uploads', async () => {
      const [first, ...others] = await parts(8);
      assert.deepEqual(await json(ask('/learn', picture(first))), { recipe: 'part', taken: 1 });
      assert.deepEqual(await json(ask('/learn', form(others))), { recipe: 'part', taken: 7 });
      const fitted = await json(ask('/learn/done'));
      assert.deepEqual(fitted, { detector: { name: 'part', version: 'v1' }, images: 8 });
    });

    it('tells good from defective, in a body or an upload', async () => {
      const good = await json<Judged>(ask('/inspect', picture(await part({ seed: 1 }))));
      const bad = await json<Judged>(ask('/inspect', picture(await part({ seed: 2, defect: true }))));
      assert.equal(good.verdict, 'ok');
      assert.equal(bad.verdict, 'ng');
      assert.ok(good.score <= good.threshold && bad.score > bad.threshold);
      assert.deepEqual(bad.detector, { name: 'part', version: 'v1' });
      const { x, y, width, height } = bad.regions[0];
      assert.ok(x < 49 && x + width > 49 && y < 30 && y + height > 30, 'the region is where the dark square is');
      const uploads = form([await part({ seed: 1 }), await part({ seed: 2, defect: true })]);
      const both = await json<Judged[]>(ask('/inspect', uploads));
      assert.deepEqual(
        both.map(one => one.verdict),
        ['ok', 'ng']
      );
    });

    it('gives the heatmap, the verdict in a header', async () => {
      const answer = await ask('/inspect?overlay=1', picture(await part({ seed: 2, defect: true })));
      assert.equal(answer.headers.get('content-type'), 'image/jpeg');
      assert.equal(answer.headers.get('x-verdict'), 'ng');
      const { format, width } = await sharp(Buffer.from(await answer.arrayBuffer())).metadata();
      assert.deepEqual({ format, width }, { format: 'jpeg', width: 96 });
    });

    it('refuses what is no picture, and a path above all, with 4xx', async () => {
      nothingWrong();
      const refused = async (status: number, code: string, address: string, options?: RequestInit) => {
        const answer = await json<Refusal>(ask(address, options), status);
        assert.equal(answer.code, code);
        assert.match(answer.error, /^.{15,}/);
        assert.doesNotMatch(answer.error, /Error:/);
      };
      const good = picture(await part());
      await refused(415, 'image-format', '/inspect');
      await refused(415, 'image-format', '/inspect', { body: 'hello' });
      await refused(415, 'image-format', '/inspect', { body: new URLSearchParams({ picture: 'part.png' }) });
      await refused(415, 'image-format', '/learn', { body: 'flows.json', headers: { 'content-type': 'text/plain' } });
      await refused(415, 'image-format', '/inspect', picture(Buffer.from('hello, this is no PNG')));
      await refused(404, 'detector-unknown', '/inspect?recipe=never-fitted', good);
      await refused(400, 'name-invalid', '/inspect?recipe=../secret', good);
      await refused(400, 'fit-no-images', '/learn/done');
    });

    it('keeps a second recipe apart, and forgets what it is told to', async () => {
      const good = picture(await part());
      assert.deepEqual(await json(ask('/learn?recipe=other', good)), { recipe: 'other', taken: 1 });
      assert.deepEqual(await json(ask('/learn?recipe=other', { method: 'DELETE' })), {
        recipe: 'other',
        forgotten: true
      });
      assert.equal((await json<Refusal>(ask('/learn/done?recipe=other'), 400)).code, 'fit-no-images');
      assert.equal((await json<Judged>(ask('/inspect', good))).verdict, 'ok');
    });
  });

  describe('several-products.json', () => {
    before(() => editor.deploy(read('several-products.json')));

    it('fits two products and judges each by its own detector', async () => {
      await editor.press('learn the disc');
      await editor.press('learn the square');
      const fitted = await editor.shown<FitResult>('fitted', 2);
      assert.deepEqual(fitted.map(({ name, version, images }) => `${name} ${version} ${images}`).sort(), [
        'disc v1 12',
        'square v1 12'
      ]);
      const damaged = ['a damaged disc', 'a damaged square', 'a disc among the squares'];
      for (const button of [...damaged, 'a good disc', 'a good square']) await editor.press(button);
      const judged = async () => [...editor.debugged<Judged>('OK'), ...editor.debugged<Judged>('NG')];
      const all = await until(judged, both => both.length === 5, 15);
      const names = all.map(({ detector }) => detector.name);
      assert.deepEqual(names.sort(), ['disc', 'disc', 'square', 'square', 'square']);
      // the good ones may lie above the 99th percentile of twelve, for the camera draws at random; the others always do
      assert.ok(editor.debugged('NG').length >= 3);
      nothingWrong();
    });
  });

  describe('busy-line.json', () => {
    before(() => editor.deploy(read('busy-line.json')));

    it('drops the oldest when the line is faster, and counts every part', async () => {
      await editor.press('learn');
      const [{ name, images }] = await editor.shown<FitResult>('fitted', 1);
      assert.deepEqual({ name, images }, { name: 'busy-line', images: 20 });
      await editor.press('60 parts at once');
      const counts = (await editor.shown<Counts>('counts', 60)).at(-1)!;
      const { ok, review, ng, dropped } = counts;
      assert.equal(ok + review + ng + dropped, 60);
      assert.ok(dropped > 0 && dropped < 50, `10 may wait: ${dropped} were dropped`);
      const text = `ok ${ok}, review ${review}, ng ${ng}, dropped ${dropped}`;
      assert.equal(editor.status('function', 'count'), text);
      assert.equal(editor.status('function', 'count all'), '60 parts');
      assert.ok(editor.debugged<string>('status').some(line => /busy-line v1/.test(line)));
      assert.equal(editor.debugged('NG: to the ejector').length, ng);
      assert.equal((await editor.shown('REVIEW: for a person', review)).length, review);
      nothingWrong();
    });
  });
});
