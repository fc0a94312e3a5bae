import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { locateBackbone } from '../../lib/engine/library';
import type { ShownBackbone } from '../../lib/red/backbones';
import { Downloads } from '../../lib/red/downloads';
import { closeServers, entry, give, NETWORK, serve, sumOf, type Given, type Server } from '../backbones/server';
import { part, parts, put, scratch } from '../support';
import { bench, helper, modules, smallModel, type Caught } from './helper';

/** Another network, as far as a download sees. */
const OTHER = Buffer.concat([NETWORK, NETWORK]);

describe('backbones of anomaly-model', () => {
  let store: string;
  let server: Server;
  let given: Given;
  beforeEach(async () => {
    [store, given] = [scratch(), {}];
    server = await serve((request, response) => {
      if (request.url === '/net.onnx') give(request, response, NETWORK, given);
      else if (request.url === '/other.onnx') give(request, response, OTHER, given);
      else response.writeHead(404).end();
    });
    const other = entry([`${server.url}/other.onnx`], { id: 'other.v1', sha256: sumOf(OTHER), bytes: OTHER.length });
    const gone = entry([`${server.url}/gone.onnx`], { id: 'gone', sha256: 'ab'.repeat(32) });
    const catalogue = path.join(scratch(), 'catalogue.json');
    put(
      catalogue,
      JSON.stringify({ caveats: { none: '-' }, catalogue: [entry([`${server.url}/net.onnx`]), other, gone] })
    );
    process.env.GOODPARTS_CATALOGUE = catalogue;
    process.env.NO_PROXY = '*';
    helper.settings({ userDir: store });
    await helper.startServer();
  });
  afterEach(async () => {
    delete process.env.GOODPARTS_CATALOGUE;
    delete process.env.NO_PROXY;
    await helper.unload();
    await helper.stopServer();
    closeServers();
  });

  async function deploy(type: string, model: object) {
    const made = bench(type, {}, smallModel(store, { detector: 'disc', backbone: 'net.v1', ...model }));
    await helper.load(modules, made.flow);
    return made;
  }

  const post = (what: string, body: object) =>
    helper
      .request()
      .post(`/goodparts/backbones/${what}`)
      .send({ store, ...body });
  const list = async () => {
    const { body } = await helper.request().get('/goodparts/backbones').query({ store });
    return body as ShownBackbone[];
  };
  const state = async (id: string) => (await list()).find(one => one.id === id)!;

  async function until(id: string, is: (one: ShownBackbone) => boolean): Promise<ShownBackbone> {
    for (let i = 0; ; i++) {
      const one = await state(id);
      if (is(one) || i > 400) return one;
      await new Promise(resolve => setTimeout(resolve, 25));
    }
  }

  it('are listed, downloaded in the background, stopped, gone on with and removed', async () => {
    await deploy('anomaly-score', {});
    const first = await state('net.v1');
    assert.deepEqual([first.state, first.bytes, first.own], ['missing', NETWORK.length, false]);
    given = { slow: 20 };
    assert.equal((await post('pull', { backbone: 'net.v1' })).status, 200);
    const coming = await until('net.v1', ({ done }) => done > 5e5);
    assert.deepEqual([coming.state, coming.own], ['downloading', true]);
    assert.equal((await post('cancel', { backbone: 'net.v1' })).status, 200);
    const stopped = await until('net.v1', one => one.state === 'begun');
    assert.ok(stopped.state === 'begun' && !stopped.own && !stopped.error, JSON.stringify(stopped));
    given = {};
    await post('pull', { backbone: 'net.v1' });
    assert.equal((await until('net.v1', one => one.state === 'there')).state, 'there');
    assert.match(server.log[1], /bytes=\d+-/);
    assert.equal((await post('remove', { backbone: 'net.v1' })).status, 200);
    assert.equal((await state('net.v1')).state, 'missing');
  });

  it('say why a download failed, until it is begun again', async () => {
    await deploy('anomaly-score', {});
    await post('pull', { backbone: 'gone' });
    const failed = await until('gone', ({ error }) => error !== undefined);
    assert.match(failed.error!, /^127\.0\.0\.1:\d+ answers 404 \([^)]*\)\.$/);
    assert.equal(failed.state, 'missing');
    const { status, body } = await post('pull', { backbone: 'http://127.0.0.1/x.onnx' });
    assert.equal(status, 400);
    assert.match((body as Error).message, /no backbone "http:.*in the catalogue/);
    for (const backbone of ['../x', '..', '']) {
      const { body: refused } = await post('remove', { backbone, force: true });
      assert.equal((refused as { code: string }).code, 'name-invalid', backbone);
    }
  });

  it('are taken from the browser, and told from what is none', async () => {
    await deploy('anomaly-score', {});
    const send = (name: string, bytes: Buffer) =>
      helper
        .request()
        .post('/goodparts/backbones/upload')
        .query({ store, name })
        .set('Content-Type', 'application/octet-stream')
        .send(bytes);
    const { body } = await send('C:\\stick\\whatever.bin', NETWORK);
    assert.equal((body as { id: string }).id, 'net.v1', JSON.stringify(body));
    assert.equal((await state('net.v1')).state, 'there');
    const page = await send('net.onnx', Buffer.from('<html>Log in</html>'));
    assert.equal(page.status, 400);
    assert.match((page.body as Error).message, /net\.onnx is a web page/);
    assert.deepEqual(fs.readdirSync(path.join(store, '@backbones')), ['net.v1'], 'nothing half received is left');
  });

  it('are fetched on demand only where the model says so', async () => {
    const { node, caught, out } = await deploy('anomaly-fit', { download: false });
    const failed = new Promise<Caught>(resolve => helper.getNode(caught).once('input', msg => resolve(msg as Caught)));
    helper.getNode(node).receive({ payload: await part() });
    const { error } = await failed;
    assert.match(error.message, /net\.v1 is not on this machine: net\.onnx .* models import net\.onnx/);
    assert.deepEqual(server.log, []);
    assert.ok(out);
  });

  it('are fetched one after the other where a model needs two', async () => {
    const both = async () => [await locateBackbone('net.v1', store), await locateBackbone('other.v1', store)];
    await assert.rejects(
      new Downloads(store, false).during(both, () => {}),
      /net\.v1 is not on this machine/
    );
    const files = await new Downloads(store, true).during(both, () => {});
    assert.deepEqual(
      files.map(file => path.basename(file)),
      ['net.onnx', 'other.onnx']
    );
    assert.equal(server.log.length, 2);
    const three = async () => [...(await both()), await locateBackbone('gone', store)];
    await assert.rejects(
      new Downloads(store, true).during(three, () => {}),
      /answers 404/
    );
  });

  it('are fetched once for several nodes, with progress in their status', async function () {
    this.timeout(120_000); // starts three engine processes
    given = { slow: 5 };
    const made = await deploy('anomaly-fit', { download: true });
    const seen: string[] = [];
    helper.getNode(made.statuses).on('input', msg => {
      seen.push((msg as unknown as { status: { text: string } }).status.text);
    });
    const fitted = new Promise(resolve => helper.getNode(made.out).once('input', resolve));
    helper.getNode(made.node).receive({ payload: await parts(2), complete: true });
    await fitted;
    assert.equal(server.log.length, 1);
    assert.ok(
      seen.some(text => /downloading/.test(text)),
      seen.join(' | ')
    );
    await helper.unload();
    fs.rmSync(path.join(store, '@backbones'), { recursive: true });
    const again = await deploy('anomaly-score', { download: true });
    const scored = new Promise(resolve => helper.getNode(again.out).once('input', resolve));
    helper.getNode(again.node).receive({ payload: await part() });
    const { payload } = (await scored) as { payload: { score: number } };
    assert.ok(payload.score >= 0);
    assert.equal(server.log.length, 2, 'the node itself and its first message wanted it at the same time');
  });
});
