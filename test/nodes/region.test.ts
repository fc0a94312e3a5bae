import assert from 'node:assert/strict';
import path from 'node:path';
import sharp from 'sharp';
import type { DoctorReport, InspectedRegion, ScoreResult } from '../../lib/engine';
import { DetectorStore } from '../../lib/engine/store';
import { put, scratch } from '../support';
import { bench, helper, Inbox, modules, part, parts, smallModel, type Caught } from './helper';

/** The left half, without its upper third. */
const REGION = {
  include: [
    [
      [0, 0],
      [0.5, 0],
      [0.5, 1],
      [0, 1]
    ]
  ],
  exclude: [
    [
      [0, 0],
      [1, 0],
      [1, 0.33],
      [0, 0.33]
    ]
  ]
};

describe('region of an anomaly-model', () => {
  let store: string;
  before(async () => {
    store = scratch();
    const [width, height] = [40, 30];
    const data = Uint8Array.from({ length: width * height }, (_, i) => (i % width < 10 ? 255 : 0));
    const mask = await sharp(data, { raw: { width, height, channels: 1 } })
      .png()
      .toBuffer();
    put(path.join(store, 'masks', 'left.png'), mask);
    helper.settings({ userDir: store });
    await helper.startServer();
  });
  after(() => helper.stopServer());
  afterEach(() => helper.unload());

  async function fit(detector: string, model: object) {
    const { flow, node, out, caught } = bench('anomaly-fit', {}, smallModel(store, { detector, ...model }));
    await helper.load(modules, flow);
    const [done, errors] = [new Inbox(out), new Inbox(caught)];
    for (const payload of await parts(3)) helper.getNode(node).receive({ payload });
    helper.getNode(node).receive({ payload: '', complete: true });
    return { done, errors };
  }

  it('goes with the fit into the version, and every score keeps to it, whatever the model says by then', async () => {
    const { done } = await fit('ring', { region: JSON.stringify(REGION), maskFile: 'masks/left.png' });
    await done.wait(1);
    const { settings } = await new DetectorStore(store).info('ring');
    const kept = settings.region as InspectedRegion;
    assert.deepEqual([kept.include, kept.exclude], [REGION.include, REGION.exclude]);
    assert.equal(typeof kept.mask, 'string');
    await helper.unload();
    const score = bench('anomaly-score', { map: true }, smallModel(store, { detector: 'ring' }));
    await helper.load(modules, score.flow);
    const out = new Inbox(score.out);
    helper.getNode(score.node).receive({ payload: await part(7, true) });
    const [msg] = (await out.wait(1)) as { payload?: unknown; anomalyMap?: { data: Buffer; width: number } }[];
    assert.ok((msg.payload as ScoreResult).score > 0);
    const { data, width } = msg.anomalyMap!;
    const values = new Float32Array(Uint8Array.from(data).buffer);
    values.forEach((v, i) => {
      const [x, y] = [((i % width) + 0.5) / width, (Math.floor(i / width) + 0.5) / (values.length / width)];
      // the mask ends at a quarter, before the polygon
      assert.equal(Number.isNaN(v), x > 0.25 || y < 0.33, `${x}, ${y}`);
    });
  });

  it('says which mask cannot be read, and where masks may lie', async () => {
    for (const [maskFile, expected] of [
      ['masks/none.png', 'path-missing'],
      ['/etc/hostname', 'path-forbidden']
    ]) {
      const { errors } = await fit('none', { maskFile });
      const [msg] = (await errors.wait(1)) as Caught[];
      assert.equal(msg.error.code, expected, msg.error.message);
      await helper.unload();
    }
  });

  it('is tried by the test of the dialog', async () => {
    const { flow } = bench('anomaly-score', {}, smallModel(store));
    await helper.load(modules, flow);
    const settingsCheck = async (region: unknown) => {
      const shown = { detector: 'ring', device: 'cpu', store, region };
      const { body } = await helper.request().post('/goodparts/test').send(shown);
      return (body as DoctorReport).checks.find(({ what }) => what === 'Settings')!;
    };
    assert.equal((await settingsCheck(JSON.stringify(REGION))).ok, true);
    const nothing = await settingsCheck(JSON.stringify({ include: REGION.exclude, exclude: REGION.exclude }));
    assert.match(nothing.detail, /leaves nothing to inspect/);
    assert.match((await settingsCheck('{')).detail, /include and exclude/);
  });

  it('tells models apart that fit the same detector', async () => {
    const { flow } = bench('anomaly-score', {}, smallModel(store, { detector: 'same' }));
    const other = { ...smallModel(store, { detector: 'same' }), id: 'd0b1c2d3e4f50617', type: 'anomaly-model' };
    await helper.load(modules, [...flow, { ...other, region: JSON.stringify(REGION) }]);
    const warned = helper.log().args.flatMap(([{ msg }]) => (/both fit the detector 'same'/.test(msg) ? [msg] : []));
    assert.equal(warned.length, 1);
    assert.match(warned[0], /differ in region:/);
  });
});
