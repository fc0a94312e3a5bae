import assert from 'node:assert/strict';
import type { NodeMessage } from 'node-red';
import type { FitResult, TrainingProgress } from '../../lib/engine';
import { bench, helper, Inbox, modules, parts, smallModel, until, type Caught } from './helper';
import { scratch } from '../support';

interface Step extends NodeMessage {
  payload: { stage: string; percent: number; training?: TrainingProgress };
}

describe('anomaly-fit that trains', function () {
  this.timeout(300_000);
  let store: string;
  before(async () => {
    store = scratch();
    helper.settings({ userDir: store });
    await helper.startServer();
  });
  after(() => helper.stopServer());
  afterEach(() => helper.unload());

  async function deploy(detector: string, model: object = {}) {
    const trained = { method: 'autoencoder', epochs: '12', detector, ...model };
    const flow = bench('anomaly-fit', { outputs: 2, progress: true }, smallModel(store, trained));
    await helper.load(modules, flow.flow);
    const [out, progress, caught, completed, statuses] = [
      flow.out,
      flow.second,
      flow.caught,
      flow.completed,
      flow.statuses
    ].map(x => new Inbox(x));
    const send = (msg: object) => helper.getNode(flow.node).receive(msg as NodeMessage);
    const steps = () => (progress.messages as Step[]).flatMap(msg => msg.payload.training ?? []);
    const texts = () => statuses.messages.map(msg => (msg as { status?: { text: string } }).status?.text);
    return { out, progress, caught, completed, send, steps, texts };
  }

  it('collects, trains, tells the loss, pauses, goes on, and saves a detector', async () => {
    const { out, send, steps, texts, completed, progress } = await deploy('disc');
    send({ payload: await parts(6), complete: true, topic: 'end' });
    await until(() => steps().some(step => step.epoch >= 2), 'two epochs', 150_000);
    send({ pause: true });
    await until(() => steps().at(-1)!.paused, 'the pause', 60_000);
    await until(() => texts().includes('status.paused'), 'its status', 60_000);
    const held = steps().length;
    await new Promise(resolve => setTimeout(resolve, 300));
    assert.equal(steps().length, held);
    send({ resume: true });
    await out.wait(1, 150_000);
    const { version, images, training } = out.messages[0].payload as FitResult;
    assert.deepEqual([version, images, out.messages[0].topic], ['v1', 6, 'end']);
    assert.ok(training!.curve.length >= 3 && training!.curve.at(-1)!.loss < training!.curve[0].loss);
    assert.ok(texts().includes('status.training') && texts().includes('status.fitted'));
    assert.deepEqual([...new Set((progress.messages as Step[]).map(msg => msg.payload.stage))].slice(0, 2), [
      'images',
      'training'
    ]);
    await completed.wait(3);
  });

  it('goes on with a training that a restart interrupted, and says so', async () => {
    const first = await deploy('long', { epochs: '2000' });
    first.send({ payload: await parts(6), complete: true });
    await until(() => first.steps().some(step => step.epoch >= 2), 'two epochs', 150_000);
    first.send({ pause: true });
    await until(() => first.steps().at(-1)!.paused, 'the pause', 60_000);
    await helper.unload();
    const second = await deploy('long', { epochs: '2000' });
    await until(() => second.texts().includes('status.interrupted'), 'the status', 60_000);
    second.send({ resume: true, topic: 'again' });
    await until(() => second.steps().length > 0, 'a step', 150_000);
    assert.ok(second.steps()[0].epoch >= 2, `it began at epoch ${second.steps()[0].epoch}`);
    second.send({ reset: true });
    const [error] = (await second.caught.wait(1, 60_000)) as Caught[];
    assert.equal(error.error.code, 'fit-aborted');
    second.send({ resume: true });
    const caught = (await second.caught.wait(2, 60_000)) as Caught[];
    assert.equal(caught[1].error.code, 'fit-no-images', 'what was reset is forgotten');
  });

  it('refuses to pause what is no training', async () => {
    const { send, caught, texts } = await deploy('patches', { method: 'patchcore' });
    send({ pause: true });
    send({ payload: await parts(2) });
    await until(() => texts().includes('status.collecting'), 'pictures', 60_000);
    send({ pause: true });
    const errors = (await caught.wait(2, 60_000)) as Caught[];
    assert.deepEqual(
      errors.map(msg => msg.error.code),
      ['fit-settings', 'fit-settings']
    );
  });
});
