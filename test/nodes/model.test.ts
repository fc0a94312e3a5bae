import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import path from 'node:path';
import type { DoctorReport, FitPlan } from '../../lib/engine';
import type { NodeAPI } from 'node-red';
import { clientOptions } from '../../lib/red/model';
import type { ModelNode } from '../../lib/red/nodes';
import { bench, fitted, helper, id, modules, smallModel } from './helper';
import { scratch } from '../support';

describe('anomaly-model', () => {
  let store: string;
  before(async () => {
    store = scratch();
    await fitted(store, 'screw');
    helper.settings({ userDir: store });
    await helper.startServer();
  });
  after(() => helper.stopServer());
  afterEach(() => helper.unload());

  /** @returns the model's id */
  async function deploy(): Promise<string> {
    const { flow, model } = bench('anomaly-score', {}, smallModel(store));
    await helper.load(modules, flow);
    return model;
  }

  it('serves the editor: detectors, test, and errors that it can show', async () => {
    const model = await deploy();
    const list = await helper.request().get('/goodparts/detectors').query({ id: model });
    assert.ok((list.body as { name: string }[]).some(({ name }) => name === 'screw'));
    const { device, failed } = await tested({});
    assert.equal(device.used, 'cpu');
    assert.deepEqual(failed, []);
    const unknown = await helper.request().get('/goodparts/detectors').query({ id: 'none' });
    assert.equal(unknown.status, 400);
    assert.match((unknown.body as { message: string }).message, /not deployed/);
  });

  /** What the editor's Test says of these settings. */
  async function tested(settings: object) {
    const shown = { detector: 'screw', device: 'cpu', store, ...settings };
    const { body } = await helper.request().post('/goodparts/test').send(shown);
    const { device, checks } = body as DoctorReport;
    assert.deepEqual(
      checks.map(({ what }) => what),
      [
        ...['Node.js', 'Image reading', 'Computing', 'Settings', 'Backbone'],
        ...('secondBackbone' in settings ? ['Second backbone'] : []),
        ...['Self-test', 'Detector store']
      ]
    );
    const failed = checks.flatMap(({ what, ok, detail }) => (ok ? [] : [`${what}: ${detail}`]));
    return { device, failed };
  }

  it('tests what the dialog shows, and writes nothing', async () => {
    await deploy();
    for (const [settings, says] of [
      [{ detector: '../x' }, /^Settings: .*no detector name/],
      [{ coresetRatio: '7' }, /^Settings: .*coresetRatio.*it is 7/],
      [{ inputWidth: '3' }, /^Settings: .*inputWidth.*32 to 4096/],
      [{ seed: 'x' }, /^Settings: .*seed.*it is "x"/],
      [{ backbone: '/nowhere/net.onnx' }, /^Backbone: .*nowhere.net.onnx cannot be read/],
      [{ secondBackbone: '/nowhere/net.onnx' }, /^Second backbone: .*nowhere.net.onnx cannot be read/],
      [{ secondBackbone: 'embedded' }, /^Settings: The second backbone is the first one again/],
      [{ layers: 'layer2, none' }, /^Backbone: .*no tensor called none/],
      [{ store: path.join(store, 'file') }, /^Detector store: .*not a folder/]
    ] as const) {
      await fs.writeFile(path.join(store, 'file'), '');
      const { failed } = await tested(settings);
      assert.equal(failed.length, 1, JSON.stringify(failed));
      assert.match(failed[0], says);
    }
    const { failed } = await tested({ store: path.join(store, 'new/store') });
    assert.deepEqual(failed, []);
    await assert.rejects(fs.stat(path.join(store, 'new')), { code: 'ENOENT' });
  });

  it('plans a fit with what the dialog shows', async () => {
    await deploy();
    const shown = { ...smallModel(store), detector: 'screw', device: 'cpu', store, images: '40', picture: '96 x 64' };
    const settings = { ...shown, bankSize: '50', memoryLimit: '64', maxMemory: '30' };
    const { body } = await helper.request().post('/goodparts/plan').send(settings);
    const plan = body as FitPlan;
    assert.deepEqual([plan.images, plan.bankSize], [40, 50]);
    assert.ok(plan.fitSeconds.total > 0 && plan.scoreMs > 0);
    assert.match(plan.refusal ?? '', /30 MB is the most that it may take/);
    for (const wrong of [{ images: 'many' }, { picture: 'large' }]) {
      const { status, body } = await helper
        .request()
        .post('/goodparts/plan')
        .send({ ...shown, ...wrong });
      assert.deepEqual([status, (body as { code: string }).code], [400, 'fit-settings']);
    }
  });

  it('fills environment variables in for the test', async () => {
    await deploy();
    process.env.GOODPARTS_TEST_STORE = path.join(store, 'file/store');
    process.env.GOODPARTS_TEST_WIDTH = '3';
    try {
      const { failed } = await tested({ store: '${GOODPARTS_TEST_STORE}', inputWidth: '${GOODPARTS_TEST_WIDTH}' });
      assert.equal(failed.length, 2, JSON.stringify(failed));
      assert.match(failed[0], /inputWidth.*it is 3/);
    } finally {
      delete process.env.GOODPARTS_TEST_STORE;
      delete process.env.GOODPARTS_TEST_WIDTH;
    }
    const shown = { detector: 'screw', device: 'cpu', store: '${GOODPARTS_TEST_STORE}' };
    const { status, body } = await helper.request().post('/goodparts/test').send(shown);
    assert.equal(status, 400);
    assert.match((body as { message: string }).message, /store, \$\{GOODPARTS_TEST_STORE\}, is not set/);
  });

  it('takes a fit for hung after ten time limits without a sign of life, a minute at the least', () => {
    const RED = { settings: { userDir: store } } as NodeAPI;
    const silence = (timeout: string) => clientOptions(RED, { timeout }, () => undefined).silence! / 1000;
    // an hour for a request is the most, however much an environment variable says
    assert.deepEqual(['', '1', '20', '3600000'].map(silence), [600, 60, 200, 36_000]);
  });

  it('gives the good scores of a version to other nodes', async () => {
    const model = await deploy();
    const node = helper.getNode(model) as ModelNode;
    const calibration = await node.calibration('screw', 'v1');
    assert.equal(calibration.scores.length, 3);
    assert.equal(await node.calibration('screw', 'v1'), calibration, 'read once');
    for (let i = 0; i < 32; i++) {
      await fs.cp(path.join(store, 'screw'), path.join(store, `other${i}`), { recursive: true });
      await node.calibration(`other${i}`, 'v1');
    }
    assert.notEqual(await node.calibration('screw', 'v1'), calibration, 'not kept for ever');
    await assert.rejects(node.calibration('screw', 'v9'), { code: 'detector-unknown' });
  });

  describe('with a twin', () => {
    const warnings = () =>
      helper
        .log()
        .args.flat()
        .filter(({ type, level }) => type === 'anomaly-model' && level === 30)
        .map(({ msg }) => msg);

    const models = (...settings: object[]) =>
      settings.map((more, i) => ({
        id: id(),
        type: 'anomaly-model',
        name: `line ${i + 1}`,
        detector: 'screw',
        ...smallModel(store, more)
      }));

    it('warns once where two would fit one detector in different ways', async () => {
      await helper.load(modules, models({ seed: 0 }, { seed: '7', coresetRatio: '0.2' }));
      assert.equal(warnings().length, 1);
      const [text] = warnings();
      assert.match(text, /^'line 1' and 'line 2' .*'screw'/);
      assert.match(text, /differ in coresetRatio \(0.5 and 0.2\), seed \(0 and 7\):/);
    });

    it('says nothing where they fit in the same way, or something else', async () => {
      const same = { seed: '', neighbours: '9' };
      const others = [
        { detector: 'nut', seed: 1 },
        { store: path.join(store, 'other'), seed: 2 }
      ];
      await helper.load(modules, models({}, same, ...others));
      assert.deepEqual(warnings(), []);
    });

    it('does not take the model of before a deploy for another', async () => {
      const [before] = models({});
      await helper.load(modules, [before]);
      await helper.setFlows([{ ...before, seed: 5 }], 'full');
      assert.deepEqual(warnings(), []);
    });
  });
});
