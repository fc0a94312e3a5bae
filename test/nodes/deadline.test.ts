import assert from 'node:assert/strict';
import type { NodeMessage } from 'node-red';
import { bench, fitted, helper, Inbox, modules, parts, smallModel, until, type Caught } from './helper';
import { scratch } from '../support';

describe('anomaly-score with a deadline, and emptied', () => {
  let store: string;
  let images: Buffer[];
  before(async () => {
    store = scratch();
    await fitted(store, 'screw');
    images = await parts(8, 20);
    helper.settings({ userDir: store });
    await helper.startServer();
  });
  after(() => helper.stopServer());
  afterEach(() => helper.unload());

  async function deploy(config: object) {
    const flow = bench('anomaly-score', config, smallModel(store));
    await helper.load(modules, flow.flow);
    const [out, caught, completed] = [flow.out, flow.caught, flow.completed].map(nodeId => new Inbox(nodeId));
    const statuses = new Inbox(flow.statuses);
    const send = (msg: object) => helper.getNode(flow.node).receive(msg as NodeMessage);
    const texts = () => statuses.messages.map(msg => (msg as { status?: { text: string } }).status?.text ?? '');
    // the engine is up and the detector loaded
    await until(() => texts().some(text => text.startsWith('screw v1')), 'detector loaded', 20_000);
    return { ...flow, out, caught, completed, send, texts };
  }
  const codes = (caught: Inbox) => (caught.messages as Caught[]).map(msg => msg.error.code);

  it('answers what is late as an error, each message once, and says so in the status', async () => {
    const { send, out, caught, texts } = await deploy({ batch: 1, deadline: '60' });
    // every tenth has time enough on the slowest machine, and has to be scored among the others
    const patient = (i: number) => i % 10 === 0;
    for (let i = 0; i < 120; i++)
      send({ payload: images[i % 8], i, ...(patient(i) && { deadline: Date.now() + 60_000 }) });
    const arrived = () => out.messages.length + caught.messages.length;
    await until(() => arrived() >= 120, `120 answers, not ${arrived()}`);
    assert.ok(caught.messages.length > 20, `${caught.messages.length} late`);
    assert.deepEqual(new Set(codes(caught)), new Set(['deadline-missed']));
    const numbers = ({ messages }: Inbox) => messages.map(msg => (msg as unknown as { i: number }).i);
    assert.equal(numbers(out).filter(patient).length, 12, 'those with time enough are scored');
    assert.equal(new Set([...numbers(out), ...numbers(caught)]).size, 120);
    await new Promise(resolve => setTimeout(resolve, 300));
    assert.equal(arrived(), 120, 'nothing comes twice');
    // nothing is scored after this one, which would replace its status
    send({ payload: images[0], deadline: Date.now() - 1, i: 120 });
    await until(() => texts().at(-1) === 'status.late', 'status');
  });

  it('takes the moment from msg.deadline where it is a number', async () => {
    const { send, out, caught } = await deploy({ deadline: 0 });
    send({ payload: images[0], deadline: Date.now() - 1000, i: 'late' });
    send({ payload: images[1], deadline: Date.now() + 60_000, i: 'early' });
    send({ payload: images[2], deadline: 'tomorrow', i: 'text' });
    send({ payload: [images[3], images[4]], deadline: Date.now() - 5, i: 'both' });
    await out.wait(2);
    await caught.wait(2);
    assert.deepEqual(
      out.messages.map(msg => (msg as { i?: string }).i),
      ['early', 'text']
    );
    assert.match((caught.messages[0] as Caught).error.message, /deadline passed 1\d{3} ms ago/);
  });

  it('lets a deadline that is kept pass without a trace', async () => {
    const { send, out, caught } = await deploy({ deadline: 5000 });
    for (const payload of images) send({ payload });
    await out.wait(8);
    assert.equal(caught.messages.length, 0);
  });

  it('is emptied by msg.reset, in the engine process too, and goes on', async () => {
    const { send, out, caught, completed } = await deploy({ batch: 8 });
    for (let i = 0; i < 10; i++) send({ payload: Array.from({ length: 32 }, (_, k) => images[k % 8]), i });
    send({ reset: true });
    await completed.wait(1);
    send({ payload: images[0], i: 'after' });
    await until(() => out.messages.some(msg => (msg as { i?: unknown }).i === 'after'), 'the message after the reset');
    await caught.wait(9);
    assert.deepEqual(new Set(codes(caught)), new Set(['score-cancelled']));
    assert.equal(out.messages.length + caught.messages.length, 11);
  });

  it('takes back what waits in the engine process when it is redeployed', async () => {
    const { flow, node, send, out, caught } = await deploy({ batch: 8 });
    const count = 6;
    for (let i = 0; i < count; i++) send({ payload: Array.from({ length: 64 }, (_, k) => images[k % 8]), i });
    await new Promise(resolve => setTimeout(resolve, 30));
    await helper.setFlows(
      flow.map(entry => (entry.id === node ? { ...entry, batch: 4 } : entry)),
      'nodes'
    );
    const answered = () => out.messages.length + caught.messages.length;
    await until(() => answered() === count, `${count} answers, not ${answered()}`);
    const stopped = codes(caught).filter(code => code === 'engine-stopped').length;
    const taken = codes(caught).filter(code => code === 'score-cancelled').length;
    assert.ok(stopped > 0, 'what waited in the node');
    assert.ok(taken > 0, 'what was handed to the engine');
    assert.equal(stopped + taken + out.messages.length, count);
  });
});
