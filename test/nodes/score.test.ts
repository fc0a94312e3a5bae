import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import path from 'node:path';
import type { NodeMessage } from 'node-red';
import sharp from 'sharp';
import type { AnomalyMap, ScoreResult } from '../../lib/engine';
import type { ModelNode } from '../../lib/red/nodes';
import {
  alive,
  bench,
  bomb,
  fitted,
  helper,
  id,
  Inbox,
  modules,
  part,
  parts,
  smallModel,
  until,
  type Caught
} from './helper';
import { scratch } from '../support';

type Scored = NodeMessage & {
  payload: ScoreResult & { timing: { queue: number } };
  image: Buffer;
  anomalyMap: AnomalyMap;
};

describe('anomaly-score', () => {
  let store: string;
  before(async () => {
    store = scratch();
    await fitted(store, 'screw');
    await fitted(store, 'nut', 1);
    helper.settings({ userDir: store });
    await helper.startServer();
  });
  after(() => helper.stopServer());
  afterEach(() => helper.unload());

  async function deploy(config: object = {}, model: object = {}) {
    const flow = bench('anomaly-score', config, smallModel(store, model));
    await helper.load(modules, flow.flow);
    const inbox = { out: new Inbox(flow.out), second: new Inbox(flow.second), caught: new Inbox(flow.caught) };
    const statuses = new Inbox(flow.statuses);
    const completed = new Inbox(flow.completed);
    const send = (msg: NodeMessage) => helper.getNode(flow.node).receive(msg);
    const pid = () => (helper.getNode(flow.model) as ModelNode).model.client.pid!;
    return { ...flow, ...inbox, completed, statuses, send, pid };
  }
  const texts = (statuses: Inbox) => statuses.messages.map(msg => (msg as { status?: { text: string } }).status?.text);

  it('scores a part, keeps the picture and all other properties', async () => {
    const { send, out, statuses } = await deploy();
    const image = await part(40, true);
    send({ payload: image, topic: 'line 1', partId: 17 });
    const [msg] = (await out.wait(1)) as Scored[];
    assert.equal(msg.topic, 'line 1');
    assert.equal(msg.partId, 17);
    assert.equal(msg.image, image, 'the very same Buffer');
    assert.deepEqual(msg.payload.detector, { name: 'screw', version: 'v1' });
    assert.deepEqual(msg.payload.image, { width: 96, height: 96 });
    assert.ok(msg.payload.score > 0 && msg.payload.regions.length > 0);
    for (const stage of ['decode', 'backbone', 'search', 'total', 'queue'] as const)
      assert.ok(msg.payload.timing[stage] >= 0, stage);
    assert.equal('map' in msg.payload, false);
    assert.equal(msg.anomalyMap.data.length, msg.anomalyMap.width * msg.anomalyMap.height * 4);
    assert.deepEqual(JSON.parse(JSON.stringify(msg.payload)), msg.payload);
    await until(
      () => texts(statuses).some(text => /^screw v1 \d+ ms$/.test(text ?? '')),
      'status with version and time'
    );
  });

  it('takes the recipe from the message', async () => {
    const { send, out, caught } = await deploy({ recipe: 'part' });
    const payload = await part(41);
    send({ payload, part: 'nut' });
    send({ payload, part: 'screw' });
    const names = ((await out.wait(2)) as Scored[]).map(msg => msg.payload.detector.name);
    assert.deepEqual(names.sort(), ['nut', 'screw']);
    for (const bad of [undefined, '', 'no such', '../screw', '..', { name: 'nut' }]) send({ payload, part: bad });
    const codes = ((await caught.wait(6)) as Caught[]).map(msg => msg.error.code);
    assert.deepEqual(codes, [
      'input-missing',
      'input-missing',
      'name-invalid',
      'name-invalid',
      'name-invalid',
      'input-missing'
    ]);
  });

  it('answers an array with arrays, and names the bad image of one', async () => {
    const { send, out, caught } = await deploy({ batch: 2 });
    const images = await parts(5, 60);
    send({ payload: images });
    const [msg] = await out.wait(1);
    assert.equal((msg.payload as ScoreResult[]).length, 5);
    assert.deepEqual(msg.image, images);
    assert.equal((msg.anomalyMap as AnomalyMap[]).length, 5);
    send({ payload: [images[0], Buffer.from('no'), images[1]] });
    send({ payload: [] });
    const errors = (await caught.wait(2)) as Caught[];
    const about = (text: RegExp) => errors.some(({ error }) => text.test(error.message));
    assert.ok(about(/Image 2 of 3/) && about(/array of 0/), JSON.stringify(errors.map(e => e.error.message)));
  });

  it('reads the files of a long list call by call', async () => {
    const { send, out, model } = await deploy({ batch: 1 });
    const { client } = (helper.getNode(model) as ModelNode).model;
    const score = client.score.bind(client);
    const [first, second] = await parts(2, 66);
    await fs.writeFile(path.join(store, 'first.png'), first);
    client.score = async (...args) => {
      await fs.writeFile(path.join(store, 'second.png'), second);
      return score(...args);
    };
    send({ payload: ['first.png', 'second.png'] });
    const [msg] = await out.wait(1);
    assert.deepEqual(msg.image, [first, second]);
  });

  it('leaves the map out when it is not wanted, also one that came with the message', async () => {
    const { send, out } = await deploy({ map: false });
    send({ payload: await part(42), anomalyMap: 'stale' });
    const [msg] = await out.wait(1);
    assert.equal('anomalyMap' in msg, false);
  });

  it('keeps the order, batches a backlog, and completes every message once', async () => {
    const { send, out, completed } = await deploy();
    const images = await parts(4, 70);
    for (let i = 0; i < 40; i++) send({ payload: images[i % 4], index: i });
    const order = (await out.wait(40)).map(msg => msg.index);
    assert.deepEqual(
      order,
      [...order].sort((a, b) => Number(a) - Number(b))
    );
    await completed.wait(40);
    await new Promise(resolve => setTimeout(resolve, 50));
    assert.equal(completed.messages.length, 40);
  });

  it('answers every message when the engine is killed under load', async () => {
    const { send, out, caught, statuses, pid } = await deploy();
    send({ payload: await part(1) });
    await out.wait(1);
    const image = await part(43);
    for (let i = 0; i < 30; i++) send({ payload: image, index: i });
    const before = pid();
    process.kill(before, 'SIGKILL');
    await out.wait(31);
    assert.equal(caught.messages.length, 0);
    assert.notEqual(pid(), before);
    await until(() => texts(statuses).includes('status.restarting'), 'status says so');
  });

  const pixels = { width: 8, height: 8, channels: 3 as const, background: '#555' };
  const inputs: [string, () => unknown, RegExp][] = [
    ['an empty Buffer', () => Buffer.alloc(0), /^image-/],
    ['a truncated JPEG', async () => (await jpeg()).subarray(0, 300), /^image-/],
    ['text in a Buffer', () => Buffer.from('hello, I am no image'), /^image-/],
    ['HTML', () => Buffer.from('<html><body>404</body></html>'), /^image-/],
    ['HTML text', () => '<html><body>404</body></html>', /^image-/],
    ['SVG', () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), /^image-format/],
    ['PDF', () => Buffer.from('%PDF-1.4\n%âãÏÓ\n1 0 obj\n<<>>\nendobj\n'), /^image-format/],
    ['a decompression bomb', () => fs.readFile(path.join(store, 'bomb.png')), /^image-too-large/],
    ['a missing file', () => 'nowhere.png', /^path-missing/],
    ['a file outside', () => '/etc/hostname', /^path-forbidden/],
    ['raw pixels that do not fit', () => ({ data: Buffer.alloc(5), width: 2, height: 2, channels: 3 }), /^image-raw/],
    ['a number', () => 17, /^input-missing/],
    ['nothing', () => undefined, /^input-missing/]
  ];
  const jpeg = () =>
    sharp({ create: { ...pixels, width: 200, height: 200 } })
      .jpeg()
      .toBuffer();

  it('gives one error for each bad input and goes on', async () => {
    await fs.writeFile(path.join(store, 'bomb.png'), bomb(50_000));
    const { send, out, caught, pid } = await deploy();
    send({ payload: await part(44) });
    await out.wait(1);
    const before = pid();
    for (const [what, make, code] of inputs) {
      const seen = caught.messages.length;
      send({ payload: await make(), what });
      const error = ((await caught.wait(seen + 1)) as Caught[])[seen];
      assert.match(error.error.code ?? '', code, `${what}: ${error.error.message}`);
      assert.equal(error.what, what);
    }
    send({ payload: await part(44) });
    const [first, second] = (await out.wait(2)) as Scored[];
    assert.equal(second.payload.score, first.payload.score);
    assert.equal(caught.messages.length, inputs.length);
    assert.equal(pid(), before);
  });

  it('says that a detector is not fitted, and takes it up once it is', async () => {
    const { send, out, caught, statuses } = await deploy({}, { detector: 'late' });
    await until(() => texts(statuses).includes('status.notfitted'), 'status');
    send({ payload: await part(1) });
    const [msg] = (await caught.wait(1)) as Caught[];
    assert.equal(msg.error.code, 'detector-unknown');
    await fitted(store, 'late', 1);
    send({ payload: await part(1) });
    await out.wait(1);
  });

  it('names a damaged detector and offers the version before', async () => {
    await fitted(store, 'hurt', 1);
    const version = await fitted(store, 'hurt', 1);
    await fs.writeFile(path.join(store, 'hurt', version, 'bank.npy'), 'damaged');
    const { send, out, caught, ...flow } = await deploy({}, { detector: 'hurt' });
    send({ payload: await part(1) });
    const [msg] = (await caught.wait(1)) as Caught[];
    assert.equal(msg.error.code, 'detector-damaged');
    assert.match(msg.error.message, /v1/);
    const activate = await helper
      .request()
      .post('/goodparts/activate')
      .send({ id: flow.model, name: 'hurt', version: 'v1' });
    assert.equal(activate.status, 200);
    send({ payload: await part(1) });
    const [scored] = (await out.wait(1)) as Scored[];
    assert.equal(scored.payload.detector.version, 'v1');
  });

  describe('policies of the queue', () => {
    for (const [policy, kept] of [
      ['drop-oldest', [0, 1, 2, 7, 8]],
      ['drop-newest', [0, 1, 2, 3, 4]]
    ] as const)
      it(`${policy}: the others leave on the second output`, async () => {
        const { send, out, second, caught, completed } = await deploy({ policy, queue: 2 });
        const payload = await part(45);
        for (let i = 0; i < 9; i++) send({ payload, index: i });
        const dropped = await second.wait(4);
        assert.deepEqual(
          (await out.wait(5)).map(msg => msg.index),
          kept
        );
        assert.ok(
          dropped.every(msg => (msg.dropped as { reason: string }).reason === policy && msg.payload === payload)
        );
        await completed.wait(9);
        assert.equal(caught.messages.length, 0);
      });

    it('error: the others go to the Catch path', async () => {
      const { send, out, caught } = await deploy({ policy: 'error', queue: 2 });
      const payload = await part(45);
      for (let i = 0; i < 9; i++) send({ payload, index: i });
      const errors = (await caught.wait(4)) as Caught[];
      assert.deepEqual(
        errors.map(msg => [msg.index, msg.error.code]),
        [5, 6, 7, 8].map(index => [index, 'queue-full'])
      );
      assert.deepEqual(
        (await out.wait(5)).map(msg => msg.index),
        [0, 1, 2, 3, 4]
      );
    });

    it('wait: holds ten times the bound, then refuses', async () => {
      const { send, out, caught } = await deploy({ policy: 'wait', queue: 1 });
      const payload = await part(45);
      for (let i = 0; i < 15; i++) send({ payload, index: i });
      await out.wait(13);
      assert.deepEqual(
        caught.messages.map(msg => msg.index),
        [13, 14]
      );
    });
  });

  it('honours nodeMessageBufferMaxLength', async () => {
    helper.settings({ userDir: store, nodeMessageBufferMaxLength: 3 });
    const { send, out, caught } = await deploy();
    helper.settings({ userDir: store });
    const payload = await part(45);
    for (let i = 0; i < 7; i++) send({ payload, index: i });
    await out.wait(6);
    const errors = caught.messages as Caught[];
    assert.deepEqual(
      errors.map(msg => [msg.index, msg.error.code]),
      [[6, 'queue-full']]
    );
  });

  it('says so when WebAssembly has to do the work', async () => {
    process.env.GOODPARTS_RUNTIME = 'wasm';
    try {
      const { send, out, statuses } = await deploy();
      await until(() => texts(statuses).includes('status.wasm'), 'status');
      send({ payload: await part(47, true) });
      const [msg] = (await out.wait(1)) as Scored[];
      assert.ok(msg.payload.score > 0);
    } finally {
      delete process.env.GOODPARTS_RUNTIME;
    }
  });

  it('shares one engine among many nodes, also in a subflow, and leaves none behind', async () => {
    const one = bench('anomaly-score', {}, smallModel(store));
    const two = bench('anomaly-score', {}, smallModel(store));
    const sub = { flow: id(), score: id(), instance: id(), out: id() };
    const at = { x: 0, y: 0 };
    const subflow = [
      {
        id: sub.flow,
        type: 'subflow',
        name: 's',
        in: [{ ...at, wires: [{ id: sub.score }] }],
        out: [{ ...at, wires: [{ id: sub.score, port: 0 }] }]
      },
      {
        id: sub.score,
        type: 'anomaly-score',
        z: sub.flow,
        model: one.model,
        image: 'payload',
        imageType: 'msg',
        wires: [[], []]
      },
      { id: sub.instance, type: `subflow:${sub.flow}`, z: one.flow[0].id, ...at, wires: [[sub.out]] },
      { id: sub.out, type: 'helper', z: one.flow[0].id, ...at, wires: [] }
    ];
    // the helper registers a core node's type once for each node of it, and fails at the second
    const unwatched = two.flow.filter(({ type }) => !['catch', 'complete', 'status'].includes(type as string));
    await helper.load(modules, [...one.flow, ...unwatched, ...subflow]);
    const payload = await part(46);
    const inboxes = [one.out, two.out, sub.out].map(out => new Inbox(out));
    for (const node of [one.node, two.node, sub.instance]) helper.getNode(node).receive({ payload });
    for (const inbox of inboxes) await inbox.wait(1);
    const pids = [one, two].map(flow => (helper.getNode(flow.model) as ModelNode).model.client.pid!);
    assert.equal(pids[0], pids[1]);
    await helper.unload();
    assert.equal(alive(pids[0]), false);
  });

  it('comes back after a redeploy with other settings, without the old process', async () => {
    const { flow, node, out, pid, send } = await deploy();
    send({ payload: await part(48) });
    await out.wait(1);
    const before = pid();
    const changed = flow.map(entry => (entry.type === 'anomaly-model' ? { ...entry, detector: 'nut' } : entry));
    await helper.setFlows(changed, 'full');
    assert.equal(alive(before), false);
    const again = new Inbox(flow.find(({ type }) => type === 'helper')!.id as string);
    helper.getNode(node).receive({ payload: await part(48) });
    const [msg] = (await again.wait(1)) as Scored[];
    assert.equal(msg.payload.detector.name, 'nut');
  });

  it('says so when no model is selected', async () => {
    const flow = bench('anomaly-score', { model: '' }, smallModel(store));
    await helper.load(modules, flow.flow);
    helper.getNode(flow.node).receive({ payload: await part(1) });
    const [msg] = (await new Inbox(flow.caught).wait(1)) as Caught[];
    assert.match(msg.error.message, /^No anomaly-model/, 'the sentence alone');
  });
});
