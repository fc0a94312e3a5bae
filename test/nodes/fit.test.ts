import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import type { NodeMessage } from 'node-red';
import type { FitResult, ScoreResult } from '../../lib/engine';
import { PRIORITY } from '../../lib/host/supervisor';
import { DetectorStore } from '../../lib/engine/store';
import {
  alive,
  bench,
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

/** The fit processes that this process has started: they carry their priority as an argument. */
function fitProcesses(): number[] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' }).split('\n');
  const mine = lines.filter(
    line => line.includes(`main.js ${PRIORITY.fit} `) && line.trim().split(/\s+/)[1] === `${process.pid}`
  );
  return mine.map(line => Number(line.trim().split(/\s+/)[0]));
}

describe('anomaly-fit', () => {
  let store: string;
  before(async () => {
    store = scratch();
    helper.settings({ userDir: store });
    await helper.startServer();
  });
  after(() => helper.stopServer());
  afterEach(async () => {
    await helper.unload();
    assert.deepEqual(fitProcesses(), [], 'no process of a fit stays behind');
  });

  async function deploy(detector: string, config: object = {}, more: object[] = []) {
    const flow = bench('anomaly-fit', { outputs: 2, ...config }, smallModel(store, { detector }));
    await helper.load(modules, [
      ...flow.flow,
      ...more.map(node => ({ model: flow.model, z: flow.flow[0].id, ...node }))
    ]);
    const [out, progress, caught, completed] = [flow.out, flow.second, flow.caught, flow.completed].map(
      x => new Inbox(x)
    );
    const send = (msg: NodeMessage) => helper.getNode(flow.node).receive(msg);
    const sendAll = (images: Buffer[], msg: object = {}) => images.forEach(payload => send({ payload, ...msg }));
    return { ...flow, out, progress, caught, completed, statuses: new Inbox(flow.statuses), send, sendAll };
  }
  const current = (name: string) => new DetectorStore(store).current(name).catch(() => 'none');
  const results = (inbox: Inbox) => inbox.messages.map(msg => msg.payload as FitResult);

  it('fits at msg.complete, with or without a last image, and completes every message', async () => {
    const { send, sendAll, out, completed, statuses } = await deploy('screw');
    sendAll(await parts(3));
    send({ payload: 'ignored'.slice(7), complete: true, topic: 'end' });
    await out.wait(1);
    sendAll(await parts(2));
    send({ payload: await part(9), complete: true });
    await out.wait(2);
    assert.equal(out.messages[0].topic, 'end');
    assert.deepEqual(
      results(out).map(({ name, version, images }) => [name, version, images]),
      [
        ['screw', 'v1', 3],
        ['screw', 'v2', 3]
      ]
    );
    assert.equal(results(out)[0].calibration.scores.length, 3);
    const { calibration, timing } = results(out)[0];
    assert.deepEqual(JSON.parse(JSON.stringify({ calibration, timing })), { calibration, timing });
    await completed.wait(7);
    await until(
      () => statuses.messages.some(msg => (msg as { status?: { text: string } }).status?.text === 'status.fitted'),
      'status'
    );
  });

  it('sends progress on the second output when asked', async () => {
    const { sendAll, send, out, progress } = await deploy('screw', { progress: true });
    sendAll(await parts(2));
    send({ complete: true });
    await out.wait(1);
    const steps = progress.messages.map(msg => msg.payload as { stage: string; done: number; percent: number });
    assert.deepEqual([...new Set(steps.map(step => step.stage))], ['images', 'coreset', 'calibration', 'save']);
    assert.ok(steps.every(({ percent }) => percent >= 0 && percent <= 100));
    assert.deepEqual([steps.at(-1)!.stage, steps.at(-1)!.percent], ['save', 100]);
    assert.ok(progress.messages.every(msg => msg.recipe === 'screw'));
  });

  it('fits after N images; those that come meanwhile go into the next fit', async () => {
    const { sendAll, out } = await deploy('counted', { completeAfter: 2 });
    sendAll(await parts(5));
    await out.wait(2);
    assert.deepEqual(
      results(out).map(result => result.images),
      [2, 2]
    );
    assert.equal(await current('counted'), 'v2');
  });

  it('fits when no image has come for a while', async () => {
    const { sendAll, out, completed } = await deploy('idle', { idleSeconds: 1 });
    sendAll(await parts(2), { topic: 'last' });
    await out.wait(1);
    assert.equal(results(out)[0].images, 2);
    assert.equal(out.messages[0].topic, 'last');
    assert.equal(completed.messages.length, 2, 'the result is no message of its own to complete');
  });

  it('takes a batch in one message, and one image alone', async () => {
    const { send, out } = await deploy('batch');
    send({ payload: await parts(4), complete: true });
    send({ payload: await part(1), complete: true });
    await out.wait(2);
    assert.deepEqual(
      results(out).map(({ images, calibration }) => [images, calibration.method]),
      [
        [4, 'leave-one-out'],
        [1, 'perturbed']
      ]
    );
  });

  it('starts over at msg.reset, also in the middle of a fit', async () => {
    const { send, sendAll, out, completed, caught } = await deploy('again');
    sendAll(await parts(3));
    send({ reset: true });
    sendAll(await parts(2));
    send({ complete: true });
    await out.wait(1);
    assert.equal(results(out)[0].images, 2);
    assert.equal(caught.messages.length, 0);
    await completed.wait(7);
    sendAll(await parts(2));
    send({ complete: true });
    send({ reset: true });
    const [aborted] = (await caught.wait(1)) as Caught[];
    assert.equal(aborted.error.code, 'fit-aborted');
    assert.equal(aborted.complete, true);
    await completed.wait(10);
    assert.equal(await current('again'), 'v1');
  });

  it('fits several recipes side by side', async () => {
    const { send, out, caught } = await deploy('', { recipe: 'recipe' });
    for (let i = 0; i < 4; i++) send({ payload: await part(i), recipe: ['left', 'right'][i % 2] });
    send({ payload: await part(5), recipe: 'right', complete: true });
    send({ recipe: 'left', complete: true });
    send({ payload: await part(5), recipe: '../evil' });
    send({ payload: await part(5) });
    await out.wait(2);
    assert.deepEqual(
      results(out)
        .map(({ name, images }) => [name, images])
        .sort(),
      [
        ['left', 2],
        ['right', 3]
      ]
    );
    const codes = ((await caught.wait(2)) as Caught[]).map(msg => msg.error.code);
    assert.deepEqual(codes, ['name-invalid', 'input-missing']);
  });

  it('gives one error for a bad image and goes on with the fit', async () => {
    const { send, out, caught } = await deploy('tough');
    const bad = [Buffer.alloc(0), Buffer.from('text'), 'nowhere.png', '/etc/hostname', 17, undefined];
    send({ payload: await part(1) });
    for (const payload of bad) send({ payload });
    send({ payload: [await part(2), Buffer.from('text')] });
    send({ payload: Buffer.from('text'), complete: true });
    const errors = (await caught.wait(8)) as Caught[];
    assert.match(errors[6].error.message, /other good images/);
    assert.match(errors[7].error.message, /send msg.complete again/);
    send({ complete: true });
    await out.wait(1);
    assert.equal(results(out)[0].images, 2);
    send({ complete: true });
    const last = (await caught.wait(9)) as Caught[];
    assert.equal(last[8].error.code, 'fit-no-images');
  });

  it('takes images of different sizes, and file paths', async () => {
    const { send, out } = await deploy('sizes');
    await fs.writeFile(path.join(store, 'part.png'), await part(3));
    send({ payload: 'part.png' });
    send({ payload: { data: Buffer.alloc(50 * 70 * 3, 99), width: 50, height: 70, channels: 3 } });
    send({ complete: true });
    await out.wait(1);
    assert.equal(results(out)[0].images, 2);
  });

  it('says what is wrong with the settings', async () => {
    const flow = bench('anomaly-fit', {}, smallModel(store, { coresetRatio: 'a lot' }));
    await helper.load(modules, flow.flow);
    helper.getNode(flow.node).receive({ payload: await part(1) });
    const [msg] = (await new Inbox(flow.caught).wait(1)) as Caught[];
    assert.equal(msg.error.code, 'fit-settings');
    assert.match(msg.error.message, /coresetRatio/);
  });

  it('says when the store cannot be written, and keeps the old version', async () => {
    const file = path.join(store, 'a-file');
    await fs.writeFile(file, '');
    const flow = bench('anomaly-fit', {}, smallModel(path.join(file, 'below')));
    await helper.load(modules, flow.flow);
    helper.getNode(flow.node).receive({ payload: await part(1), complete: true });
    const [msg] = (await new Inbox(flow.caught).wait(1)) as Caught[];
    assert.equal(msg.error.code, 'store-write');
  });

  it('reports a killed engine once, saves nothing, and fits again', async () => {
    const { send, sendAll, out, caught } = await deploy('killed');
    sendAll(await parts(2));
    await until(() => fitProcesses().length === 1, 'the fit runs');
    send({ payload: await part(3), complete: true });
    process.kill(fitProcesses()[0], 'SIGKILL');
    const [msg] = (await caught.wait(1)) as Caught[];
    assert.equal(msg.error.code, 'engine-stopped');
    assert.match(msg.error.message, /send the images again/);
    await new Promise(resolve => setTimeout(resolve, 300));
    send({ reset: true });
    sendAll(await parts(2));
    send({ complete: true });
    await out.wait(out.messages.length + 1);
    assert.equal(results(out).at(-1)!.images, 2);
  });

  it('reports an engine that dies between two messages', async () => {
    const { send, sendAll, out, caught, completed } = await deploy('silent');
    send({ payload: await part(1), topic: 'line 1' });
    await completed.wait(1);
    process.kill(fitProcesses()[0], 'SIGKILL');
    const [msg] = (await caught.wait(1)) as Caught[];
    assert.equal(msg.error.code, 'engine-stopped');
    assert.equal(msg.topic, 'line 1');
    // the sender goes on: these images alone must not become the detector
    send({ payload: await part(9) });
    send({ complete: true });
    const errors = ((await caught.wait(3)) as Caught[]).slice(1).map(c => c.error.message);
    for (const text of errors) assert.match(text, /lost its images/);
    sendAll(await parts(2));
    send({ complete: true });
    await out.wait(out.messages.length + 1);
    assert.equal(results(out).at(-1)!.images, 2);
  });

  it('ends the fit and its process at a deploy', async () => {
    const { sendAll, completed } = await deploy('redeployed');
    sendAll(await parts(2));
    await completed.wait(2);
    const [pid] = fitProcesses();
    await helper.unload();
    assert.equal(alive(pid), false);
    assert.equal(await current('redeployed'), 'none');
  });

  it('fits while anomaly-score goes on, and swaps the version without losing a message', async () => {
    await fitted(store, 'swap', 2);
    const nodes = { score: id(), scored: id() };
    const { sendAll, send, out } = await deploy('swap', {}, [
      {
        id: nodes.score,
        type: 'anomaly-score',
        image: 'payload',
        imageType: 'msg',
        x: 0,
        y: 0,
        wires: [[nodes.scored], []]
      },
      { id: nodes.scored, type: 'helper', x: 0, y: 0, wires: [] }
    ]);
    const scored = new Inbox(nodes.scored);
    const payload = await part(30);
    let sent = 0;
    const score = () => helper.getNode(nodes.score).receive({ payload, index: sent++ });
    score();
    await scored.wait(1);
    sendAll(await parts(6));
    send({ complete: true });
    while (out.messages.length === 0) {
      score();
      await scored.wait(sent);
    }
    score();
    const messages = await scored.wait(sent);
    const versions = messages.map(msg => (msg.payload as ScoreResult).detector.version);
    assert.deepEqual([versions[0], versions.at(-1)], ['v1', 'v2']);
    assert.deepEqual(versions, [...versions].sort());
    assert.deepEqual(
      messages.map(msg => msg.index),
      messages.map((_, i) => i)
    );
    assert.ok(versions.filter(version => version === 'v1').length > 3, 'scoring went on during the fit');
  });
});
