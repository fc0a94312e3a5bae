import assert from 'node:assert/strict';
import type { NodeMessage } from 'node-red';
import type { AnomalyMap, Calibration } from '../../lib/engine';
import type { ModelNode } from '../../lib/red/nodes';
import { bench, fitted, helper, Inbox, modules, smallModel, until, type Caught } from './helper';
import { DetectorStore, type StoredDetector } from '../../lib/engine/store';
import { scratch } from '../support';

const detector = { name: 'screw', version: 'v1' };
const image = { width: 40, height: 20 };
const result = (score: number) => ({ score, detector, image, regions: [], damage: 0, timing: { total: 1 } });

/** 20 x 10 values of 0, but a block of 2 x 3 (columns 4-5, rows 2-4) of 5. */
function blockMap(): AnomalyMap {
  const values = new Float32Array(200);
  for (const y of [2, 3, 4]) values.fill(5, y * 20 + 4, y * 20 + 6);
  return { data: Buffer.from(values.buffer), width: 20, height: 10, normal: 0.5, threshold: 7 };
}

describe('threshold', () => {
  let store: string;
  before(async () => {
    store = scratch();
    await fitted(store, 'screw', 5);
    helper.settings({ userDir: store });
    await helper.startServer();
  });
  after(() => helper.stopServer());
  afterEach(() => helper.unload());

  async function deploy(config: object = {}) {
    const flow = bench('threshold', config, smallModel(store));
    await helper.load(modules, flow.flow);
    const outputs = [flow.out, flow.second, flow.third].map(output => new Inbox(output));
    const [caught, completed, statuses] = [flow.caught, flow.completed, flow.statuses].map(node => new Inbox(node));
    const send = (msg: NodeMessage) => helper.getNode(flow.node).receive(msg);
    const calibration = () => (helper.getNode(flow.model) as ModelNode).calibration('screw', 'v1');
    return { outputs, caught, completed, statuses, send, calibration };
  }
  const texts = (statuses: Inbox) => statuses.messages.map(msg => (msg as { status?: { text: string } }).status?.text);

  /** What a node with this configuration takes for its limit, and the good scores it had to go by. */
  async function limits(config: object) {
    const { outputs, send, calibration } = await deploy(config);
    send({ payload: result(1e9) });
    const ng = outputs['review' in config ? 2 : 1];
    const [{ payload }] = (await ng.wait(1)) as { payload: { threshold: number; reviewThreshold?: number } }[];
    const good: Calibration = await calibration();
    await helper.unload();
    return { ...payload, good };
  }
  const close = (actual: number | undefined, expected: number) =>
    assert.ok(Math.abs(actual! - expected) < 1e-9, `${actual} instead of ${expected}`);

  it('draws the limit from the scores of the good parts', async () => {
    const half = await limits({ method: 'percentile', value: '50' });
    assert.equal(half.good.scores.length, 5);
    close(half.threshold, half.good.scores[2]);
    const between = await limits({ method: 'percentile', value: 90 });
    close(between.threshold, between.good.scores[3] * 0.4 + between.good.scores[4] * 0.6);
    const usual = await limits({});
    close(usual.threshold, usual.good.scores[3] * 0.04 + usual.good.scores[4] * 0.96);
    const [a, b, c, d, e] = usual.good.scores;
    const mean = (a + b + c + d + e) / 5;
    const deviation = Math.sqrt([a, b, c, d, e].reduce((sum, x) => sum + (x - mean) * (x - mean), 0) / 4);
    close((await limits({ method: 'sigma', value: 2.5 })).threshold, mean + 2.5 * deviation);
    close((await limits({ method: 'fixed', value: '0.75' })).threshold, 0.75);
  });

  it('takes the threshold that a network brought along, and refuses where there is none', async () => {
    const { caught, send } = await deploy({ method: 'own' });
    send({ payload: result(1) });
    const [{ error }] = (await caught.wait(1)) as Caught[];
    assert.match(error.message, /screw v1 has no threshold of its own/);
    await helper.unload();
    const versions = new DetectorStore(store);
    const { info, arrays } = (await versions.read('screw', 'v1')) as StoredDetector<'patchcore'>;
    const own = { score: 0.5, map: 4 };
    const named = { ...info, name: 'network', calibration: { ...info.calibration, own } };
    await versions.save(named, arrays);
    const node = await deploy({ method: 'own', review: true, reviewValue: 0, pixelMethod: 'own' });
    const payload = { ...result(0.6), detector: { name: 'network', version: 'v1' } };
    node.send({ payload, anomalyMap: blockMap() } as NodeMessage);
    const [{ payload: ng }] = (await node.outputs[2].wait(1)) as { payload: Record<string, unknown> }[];
    // blocks of 5 are above 4; REVIEW comes from the good parts
    assert.deepEqual([ng.threshold, ng.damage, ng.reviewThreshold], [0.5, 6 / 200, info.calibration.scores[0]]);
  });

  it('takes the review limit by the same method', async () => {
    const both = await limits({ method: 'percentile', value: 100, review: true, reviewValue: 25 });
    close(both.threshold, both.good.scores[4]);
    close(both.reviewThreshold, both.good.scores[1]);
  });

  it('sends OK to the first output and NG to the second; exactly the limit is OK', async () => {
    const { outputs, send, completed } = await deploy({ method: 'fixed', value: 0.5, model: '' });
    const before = result(0.5);
    send({ payload: before, topic: 'line 1', index: 1 });
    send({ payload: result(0.500001), index: 2 });
    const [ok] = await outputs[0].wait(1);
    const [ng] = await outputs[1].wait(1);
    assert.deepEqual(ok.payload, { ...result(0.5), threshold: 0.5, verdict: 'ok', isAnomaly: false });
    assert.deepEqual(ng.payload, { ...result(0.500001), threshold: 0.5, verdict: 'ng', isAnomaly: true });
    assert.equal(ok.topic, 'line 1');
    assert.deepEqual(before, result(0.5), 'the payload that came is left as it was');
    await completed.wait(2);
    assert.deepEqual([outputs[0].messages.length, outputs[1].messages.length], [1, 1]);
  });

  it('has a third output for what a person should look at', async () => {
    const { outputs, send } = await deploy({ method: 'fixed', value: 0.5, review: true, reviewValue: 0.3 });
    for (const score of [0.3, 0.4, 0.5, 0.6]) send({ payload: result(score) });
    await outputs[2].wait(1);
    const scores = outputs.map(({ messages }) => messages.map(msg => (msg.payload as { score: number }).score));
    assert.deepEqual(scores, [[0.3], [0.4, 0.5], [0.6]]);
    const { verdict, isAnomaly, reviewThreshold } = outputs[1].messages[0].payload as Record<string, unknown>;
    assert.deepEqual([verdict, isAnomaly, reviewThreshold], ['review', false, 0.3]);
  });

  it('takes the limits of a message before its own', async () => {
    const { outputs, send, caught } = await deploy({ method: 'fixed', value: 0.5, review: true, reviewValue: 0.3 });
    send({ payload: result(0.4), threshold: 0.35 } as NodeMessage);
    send({ payload: result(0.4), reviewThreshold: 0.4 } as NodeMessage);
    send({ payload: result(0.2), threshold: 0.25, reviewThreshold: 0.3 } as NodeMessage);
    send({ payload: result(0.2), threshold: '0.1' } as NodeMessage);
    const [error] = await caught.wait(1);
    assert.match((error as Caught).error.message, /msg\.threshold must be a number/);
    const given = outputs.map(({ messages }) =>
      messages.map(msg => {
        const { score, threshold, reviewThreshold } = msg.payload as Record<string, number>;
        return [score, threshold, reviewThreshold];
      })
    );
    assert.deepEqual(given, [
      [
        [0.4, 0.5, 0.4],
        [0.2, 0.25, 0.25]
      ],
      [],
      [[0.4, 0.35, 0.3]]
    ]);
  });

  it('judges each of several pictures, and the message by the worst', async () => {
    const { outputs, send } = await deploy({ method: 'fixed', value: 0.5, review: true, reviewValue: 0.3 });
    send({ payload: [result(0.1), result(0.4)] });
    send({ payload: [result(0.6), result(0.1)] });
    send({ payload: [result(0.1), result(0.2)] });
    const [[ok], [review], [ng]] = await Promise.all(outputs.map(output => output.wait(1)));
    const verdicts = (msg: NodeMessage) => (msg.payload as { verdict: string }[]).map(({ verdict }) => verdict);
    assert.deepEqual([ok, review, ng].map(verdicts), [
      ['ok', 'ok'],
      ['ok', 'review'],
      ['ng', 'ok']
    ]);
  });

  it('finds regions and damage anew by its own pixel threshold', async () => {
    const { outputs, send } = await deploy({ method: 'fixed', value: 9, pixelMethod: 'fixed', pixelValue: '4' });
    const anomalyMap = blockMap();
    const bytes = Buffer.from(anomalyMap.data);
    send({ payload: result(1), anomalyMap });
    const [msg] = await outputs[0].wait(1);
    const { regions, damage } = msg.payload as { regions: unknown[]; damage: number };
    // the picture is twice as large as the map
    assert.deepEqual(regions, [{ x: 8, y: 4, width: 4, height: 6, score: 5, area: 24 }]);
    assert.equal(damage, 6 / 200);
    assert.deepEqual(msg.anomalyMap, { ...anomalyMap, threshold: 4 });
    assert.equal(anomalyMap.threshold, 7, 'the map that came is left as it was');
    assert.equal((msg.anomalyMap as AnomalyMap).data, anomalyMap.data, 'its values are shared');
    assert.deepEqual(anomalyMap.data, bytes);
  });

  it("takes the pixel threshold from the good parts' maps, also for several pictures", async () => {
    const { outputs, send, calibration } = await deploy({ pixelMethod: 'percentile', pixelValue: 50 });
    send({ payload: [result(0), result(0)], anomalyMap: [blockMap(), blockMap()] });
    const [msg] = await outputs[0].wait(1);
    const { mapMaxima } = await calibration();
    const maps = msg.anomalyMap as AnomalyMap[];
    assert.deepEqual(
      maps.map(({ threshold }) => threshold),
      [mapMaxima[2], mapMaxima[2]]
    );
    assert.equal((msg.payload as { regions: unknown[] }[])[1].regions.length, 1);
  });

  it('reads and writes the property it is told to', async () => {
    const { outputs, send } = await deploy({ method: 'fixed', value: 1, result: 'vision.result' });
    send({ payload: 'something else', vision: { result: result(0.2) } });
    const [msg] = await outputs[0].wait(1);
    assert.equal(msg.payload, 'something else');
    assert.equal((msg.vision as { result: { verdict: string } }).result.verdict, 'ok');
  });

  it('keeps the order, also while the good scores are read', async () => {
    const { outputs, send } = await deploy();
    for (let i = 0; i < 20; i++) send({ payload: result(1e9), index: i });
    const order = (await outputs[1].wait(20)).map(msg => msg.index);
    assert.deepEqual(
      order,
      Array.from({ length: 20 }, (_, i) => i)
    );
  });

  it('shows the last verdict', async () => {
    const { send, statuses } = await deploy({ method: 'fixed', value: 0.5 });
    send({ payload: result(0.1) });
    await until(() => texts(statuses).includes('status.ok'), 'OK');
    send({ payload: result(0.9) });
    await until(() => texts(statuses).includes('status.ng'), 'NG');
    send({ payload: 'nothing' });
    await until(() => texts(statuses).includes('status.error'), 'error');
  });

  it('says what is missing', async () => {
    const { send, caught } = await deploy({ pixelMethod: 'fixed', pixelValue: 1 });
    send({ payload: undefined });
    send({ payload: { ...result(1), score: 'high' } });
    send({ payload: [] });
    send({ payload: { ...result(1), detector: undefined }, anomalyMap: blockMap() });
    send({ payload: result(1) });
    send({ payload: { ...result(1), detector: { name: 'screw', version: 'v9' } }, anomalyMap: blockMap() });
    const errors = ((await caught.wait(6)) as Caught[]).map(({ error }) => error);
    assert.deepEqual(
      errors.map(({ code }) => code),
      [...Array.from({ length: 5 }, () => 'input-missing'), 'detector-unknown']
    );
    const about = [
      /msg.payload holds no score/,
      /holds no score/,
      /empty array/,
      /which detector/,
      /needs msg.anomalyMap/
    ];
    for (const [i, text] of about.entries()) assert.match(errors[i].message, text);
  });

  it('needs a model for what is drawn from good parts only', async () => {
    const { send, caught, outputs } = await deploy({ model: '' });
    send({ payload: result(1) });
    const [{ error }] = (await caught.wait(1)) as Caught[];
    assert.match(error.message, /No anomaly-model is selected/);
    assert.equal(outputs[0].messages.length + outputs[1].messages.length, 0);
  });

  for (const bad of [
    { value: 101 },
    { value: '' },
    { method: 'fixed', value: 'much' },
    { review: true, reviewValue: -1 },
    { pixelMethod: 'sigma', pixelValue: '' }
  ])
    it(`refuses ${JSON.stringify(bad)}`, async () => {
      const { send, caught } = await deploy(bad);
      send({ payload: result(1) });
      const [{ error }] = (await caught.wait(1)) as Caught[];
      assert.equal(error.code, 'fit-settings');
    });
});
