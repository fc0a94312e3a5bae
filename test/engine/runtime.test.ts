import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import * as ort from 'onnxruntime-node';
import { Engine, GoodpartsError, ScoreResult } from '../../lib/engine';
import { Backbone, loadBackbone, runBackbone } from '../../lib/engine/backbone';
import { GraphBuilder } from '../../lib/engine/onnx/builder';
import { relativeError } from '../../lib/engine/selftest';
import { Runtime, Session } from '../../lib/engine/runtime';
import { part, parts, scratch, shared, SMALL, softwareGpu } from '../support';
import { brightnessAfter, largeAngles, tooManyParts } from './networks';

const run = promisify(execFile);

describe('runtime', () => {
  it('says what was wanted, what is used, and why they differ', async () => {
    assert.deepEqual((await Runtime.create('cpu')).device, { wanted: 'cpu', used: 'cpu', note: undefined });
    for (const wanted of ['coreml', 'cuda'] as const) {
      const { device } = await Runtime.create(wanted);
      if (device.used === wanted) continue; // there are machines that have it
      assert.equal(device.used, 'cpu');
      assert.match(device.note!, new RegExp(`^${wanted}: .*the CPU is used instead$`));
    }
  });

  /** Scores a defect with the detector "disc" of a store, in a process of its own, after `before` was done with the engine. */
  async function scoreElsewhere(store: string, env: NodeJS.ProcessEnv, options = '', before = '') {
    const picture = path.join(scratch(), 'part.png');
    fs.writeFileSync(picture, await part({ defect: true }));
    const script = `
      const { Engine } = require(${JSON.stringify(path.resolve(__dirname, '../../lib/engine'))});
      const engine = new Engine({ store: ${JSON.stringify(store)}, ${options} });
      (async () => {
        ${before}
        const [{ score }] = await engine.score('disc', [require('fs').readFileSync(${JSON.stringify(picture)})]);
        console.log(JSON.stringify({ score, ...(await engine.doctor()) }));
        process.exit(0);
      })();`;
    const { stdout } = await run(process.execPath, ['-e', script], { env: { ...process.env, ...env } });
    return JSON.parse(stdout);
  }

  it('lives without the native runtime: WebAssembly gives the same scores, and the report says how to mend it', async () => {
    const store = scratch();
    const engine = new Engine({ store });
    await engine.fit('disc', await parts(3), SMALL);
    const [native] = (await engine.score('disc', [await part({ defect: true })])) as ScoreResult[];
    const { score, device, checks } = await scoreElsewhere(store, { GOODPARTS_RUNTIME: 'wasm' });
    assert.ok(Math.abs(score - native.score) / native.score < 1e-3, `${score} instead of ${native.score}`);
    assert.equal(device.used, 'wasm');
    assert.match(device.note, /npm install onnxruntime-node/);
    const ok = Object.fromEntries(checks.map((c: { what: string; ok: boolean }) => [c.what, c.ok]));
    assert.equal(ok['Self-test'], true);
    assert.equal(ok['Computing'], false);
  }).timeout(120000);

  it('computes on WebGPU what it computes on the processor, in a fit as well', async function () {
    const env = softwareGpu(this);
    const store = scratch();
    const good = await parts(3);
    const engine = new Engine({ store, device: 'cpu' });
    await engine.fit('disc', good, SMALL);
    const defect = [await part({ defect: true })];
    const [native] = (await engine.score('disc', defect)) as ScoreResult[];
    const folder = scratch();
    good.forEach((picture, i) => fs.writeFileSync(path.join(folder, `${i}.png`), picture));
    const { score, device } = await scoreElsewhere(
      store,
      env,
      `device: 'webgpu'`,
      `const pictures = [0, 1, 2].map(i => require('fs').readFileSync(${JSON.stringify(folder)} + '/' + i + '.png'));
       await engine.fit('there', pictures, ${JSON.stringify(SMALL)});`
    );
    assert.deepEqual(device, { wanted: 'webgpu', used: 'webgpu' });
    assert.ok(Math.abs(score - native.score) / native.score < 1e-4, `${score} instead of ${native.score}`);
    const [fitted] = (await engine.score('there', defect)) as ScoreResult[];
    assert.ok(Math.abs(fitted.score - native.score) / native.score < 1e-3, `${fitted.score}, not ${native.score}`);
  }).timeout(300000);

  it('a graph that fails after it has worked goes on elsewhere: once, with every result, and nothing is left loaded', async () => {
    const g = new GraphBuilder();
    g.output(g.op('Add', [g.input('x', 'float', ['n']), g.scalar(1)]), 'y', 'float', ['n']);
    const open = () => ort.InferenceSession.create(g.build());
    const loaded: ort.InferenceSession[] = [await open()];
    const told: unknown[] = [];
    const load = async () => loaded[loaded.push(await open()) - 1];
    const session = new Session(ort as never, loaded[0] as never, {
      load,
      moved: (error: unknown) => told.push(error)
    });
    const add = async (x: number) => [...(await session.run({ x: { data: Float32Array.of(x), dims: [1] } })).y.data];
    assert.deepEqual(await add(1), [2]);
    // what both places refuse is no reason to leave: the rank is wrong
    await assert.rejects(session.run({ x: { data: Float32Array.of(1), dims: [1, 1] } }));
    assert.deepEqual([await add(1), told.length, loaded.length], [[2], 0, 2]);
    // from here on the first one fails whatever it is given
    await loaded[0].release();
    assert.deepEqual(await Promise.all([add(2), add(3)]), [[3], [4]]);
    assert.deepEqual(await add(4), [5]);
    assert.deepEqual([told.length, loaded.length], [1, 2]);
    assert.match(String(told[0]), /disposed|released/);
    await session.release().catch(() => {}); // of the first one, which is released already
    await assert.rejects(loaded[1].run({ x: new ort.Tensor('float32', [1], [1]) }), /disposed|released/);
  });

  for (const { what, change, why } of [
    { what: 'fails in the middle of work', change: tooManyParts, why: /^webgpu failed: .*Split/ },
    {
      what: 'computes something else',
      change: largeAngles,
      why: /^webgpu failed: the self-test of "(disc|other)" v1 gives other results there;/
    }
  ])
    it(`goes on on the processor where a device ${what}, and says so`, async function () {
      const env = softwareGpu(this);
      const store = scratch();
      const engine = new Engine({ store, device: 'cpu' });
      const network = brightnessAfter(change);
      for (const name of ['disc', 'other']) await engine.fit(name, await parts(3), { network });
      const [native] = (await engine.score('disc', [await part({ defect: true })])) as ScoreResult[];
      const told = path.join(scratch(), 'told.json');
      const resources = `onDevice: device => require('fs').appendFileSync(${JSON.stringify(told)}, JSON.stringify(device))`;
      const { score, device } = await scoreElsewhere(
        store,
        env,
        `device: 'webgpu', ${resources}`,
        `await Promise.all([engine.load('other'), engine.load('disc')]);`
      );
      assert.equal(score, native.score);
      assert.deepEqual([device.wanted, device.used], ['webgpu', 'cpu']);
      assert.match(device.note, why);
      assert.match(device.note, /the CPU is used instead until the engine starts again$/);
      assert.deepEqual(JSON.parse(fs.readFileSync(told, 'utf8')), device, 'told once, and the same');
    }).timeout(120000);
});

describe('backbone', () => {
  const refused = (code: string, text: RegExp) => (error: unknown) => {
    assert.ok(error instanceof GoodpartsError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, text);
    return true;
  };

  it('finds layers by structure, takes them by name, and drops what lies behind', async function () {
    const file = shared(this, 'weights', 'squeezenet11_full.onnx');
    const runtime = await Runtime.create('cpu');
    const found = await loadBackbone(runtime, file, []);
    assert.deepEqual(
      [found.layers, found.channels],
      [
        ['fire5', 'fire9'],
        [256, 512]
      ]
    );
    const named = await loadBackbone(runtime, file, ['fire3', 'fire5']);
    assert.deepEqual(named.channels, [128, 256]);
    assert.deepEqual([...named.session.outputs], ['fire3', 'fire5']);
    await assert.rejects(
      loadBackbone(runtime, file, ['nowhere']),
      refused('backbone-taps', /no tensor called nowhere/)
    );
  });

  it('knows of the embedded one what trying it out shows', async () => {
    const runtime = await Runtime.create('cpu');
    const file = path.resolve(__dirname, '../../../models/backbone.onnx');
    const known = await loadBackbone(runtime, 'embedded', []);
    const tried = await loadBackbone(runtime, file, ['layer2', 'layer3']);
    const facts = ({ channels, forms, size, multiple, batch }: Backbone) => [channels, forms, size, multiple, batch];
    assert.deepEqual(facts(known), facts(tried));
    assert.deepEqual(known.layers, tried.layers);
  });

  it('gives the same features where it is told the size, at even and at odd ones', async () => {
    const runtime = await Runtime.create('cpu');
    for (const side of [96, 90]) {
      const picture = {
        data: Float32Array.from({ length: 3 * side * side }, (_, i) => (i % 97) / 97),
        dims: [1, 3, side, side]
      };
      const any = await loadBackbone(runtime, 'embedded', []);
      const told = await loadBackbone(runtime, 'embedded', [], undefined, { width: side, height: side });
      const [expected, found] = [await runBackbone(any, picture), await runBackbone(told, picture)];
      expected.forEach((map, i) => {
        assert.deepEqual(found[i].dims, map.dims);
        assert.ok(relativeError(found[i].data, map.data) < 1e-5);
      });
      await Promise.all([any, told].map(backbone => backbone.session.release()));
    }
  });

  it('refuses what is no network', async () => {
    const runtime = await Runtime.create('cpu');
    const text = path.join(scratch(), 'model.onnx');
    fs.writeFileSync(text, 'version https://git-lfs.github.com/spec/v1');
    await assert.rejects(loadBackbone(runtime, text, []), refused('backbone-unreadable', /not an ONNX model/));
    await assert.rejects(loadBackbone(runtime, text + '.missing', []), refused('backbone-missing', /ENOENT/));
  });
});
