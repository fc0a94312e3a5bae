import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Engine, GoodpartsError, ScoreResult } from '../../lib/engine';
import { decode } from '../../lib/engine/decode';
import { Extractor } from '../../lib/engine/features';
import { decodeNpy, encodeNpy } from '../../lib/engine/npy';
import { GraphBuilder } from '../../lib/engine/onnx/builder';
import { observer, OBSERVED } from '../../lib/engine/onnx/observe';
import { decodeModel, ModelProto, reencodeModel } from '../../lib/engine/onnx/proto';
import { rangeTensors } from '../../lib/engine/onnx/quantize';
import { completeSettings } from '../../lib/engine/presets';
import { randomStream } from '../../lib/engine/random';
import { quantized, RangeObserver } from '../../lib/engine/ranges';
import { Runtime } from '../../lib/engine/runtime';
import { relativeError } from '../../lib/engine/selftest';
import { hash, SUMS } from '../../lib/engine/version';
import { part, parts, scratch, shared, SMALL } from '../support';
import { residualNet, transformer, written } from './networks';

const INT8 = { ...SMALL, precision: 'int8' as const };

const code = (expected: string) => (error: unknown) => {
  assert.ok(error instanceof GoodpartsError, String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};

const scored = (entry: ScoreResult | GoodpartsError): ScoreResult => {
  if (entry instanceof GoodpartsError) throw entry;
  return entry;
};

const random = (seed: number, count: number): Float32Array => {
  const next = randomStream(seed);
  return Float32Array.from({ length: count }, () => next() - 0.4);
};

type Layer = (g: GraphBuilder, x: string) => string;

/** Two convolutions of 8 channels with `between` them, behind one that reads the picture, and a `stem`. */
function net(between: Layer, stem: Layer = (_, x) => x): ModelProto {
  const g = new GraphBuilder();
  const conv = (x: string, from: number, seed: number): string =>
    g.op('Conv', [x, g.floats(random(seed, 8 * from * 9), [8, from, 3, 3])], { pads: [1, 1, 1, 1] });
  const x = stem(g, g.op('Relu', [conv(g.input('picture', 'float', ['N', 3, 'H', 'W']), 3, 1)]));
  const y = between(g, g.op('Relu', [conv(x, 8, 2)]));
  g.output(conv(y, 8, 3), 'y', 'float', ['N', 8, 'h', 'w']);
  return decodeModel(g.build());
}

const NETS: Record<string, [between: Layer, stem?: Layer]> = {
  'what follows a maximum of floats': [
    (_, x) => x,
    (g, x) => g.op('MaxPool', [x], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] })
  ],
  'a batch normalisation': [
    (g, x) =>
      g.op('BatchNormalization', [
        x,
        ...[4, 5, 6].map(seed => g.floats(random(seed, 8), [8])),
        g.floats(random(7, 8).map(Math.abs), [8])
      ])
  ],
  'an average pool': [(g, x) => g.op('AveragePool', [x], { kernel_shape: [2, 2], strides: [2, 2] })],
  'an average pool with a border': [(g, x) => g.op('AveragePool', [x], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] })],
  'a maximum and a concat': [
    (g, x) => {
      const pool = g.op('MaxPool', [x], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] });
      return g.op('Add', [g.op('Concat', [pool], { axis: 1 }), x]);
    }
  ]
};

describe('backbone in int8', () => {
  let runtime: Runtime;
  before(async () => (runtime = await Runtime.create('cpu')));

  for (const [name, layers] of Object.entries(NETS))
    it(`computes ${name} in 8 bits as in float32, but for rounding`, async () => {
      const model = net(...layers);
      const picture = { picture: { data: random(9, 3 * 32 * 32), dims: [1, 3, 32, 32] } };
      const tensors = rangeTensors(model);
      const watch = await runtime.session(observer(model, tensors));
      const { observed } = await watch.run(picture);
      const rounded = quantized(model, { data: observed.data, shape: [tensors.length, OBSERVED] });
      const types = new Set(rounded.graph.node.map(n => n.opType));
      assert.ok(types.has('QuantizeLinear') && !types.has('BatchNormalization'), [...types].join());
      const exact = await runtime.session(reencodeModel(model));
      const coarse = await runtime.session(reencodeModel(rounded));
      const [a, b] = [(await exact.run(picture)).y, (await coarse.run(picture)).y];
      assert.deepEqual(b.dims, a.dims);
      const error = relativeError(b.data, a.data);
      assert.ok(error > 0 && error < 0.03, `${error}`);
    });

  it('gives nearly the features of the embedded backbone', async function () {
    const folder = shared(this, 'data', 'mvtec_bottle', 'train', 'good');
    const files = fs.readdirSync(folder).slice(0, 5);
    const settings = completeSettings({});
    const exact = await Extractor.create(runtime, settings);
    const inputs: Float32Array[] = [];
    for (const file of files)
      inputs.push((await exact.prepare(await decode(fs.readFileSync(path.join(folder, file))))).input);
    const watch = await RangeObserver.create(runtime, exact);
    for (const input of inputs.slice(1)) await watch.add(input);
    const coarse = await Extractor.create(runtime, settings, watch.ranges());
    const [a, b] = [await exact.embed([inputs[0]]), await coarse.embed([inputs[0]])];
    const error = relativeError(b.patches[0], a.patches[0]);
    assert.ok(error > 1e-3 && error < 0.12, `${error}`);
    await Promise.all([watch.release(), exact.release(), coarse.release()]);
  });

  it('learns, tells a defect, and does so again after a restart', async () => {
    const store = scratch();
    const images = await parts(18);
    const test = [images[17], await part({ seed: 7 }), await part({ seed: 7, defect: true })];
    const first = new Engine({ store });
    const { calibration, images: count } = await first.fit('disc', images, { ...INT8, smoothing: 1, coresetRatio: 1 });
    assert.equal(count, 18);
    const before = (await first.score('disc', test)).map(entry => scored(entry).score);
    await first.close();
    const second = new Engine({ store });
    const [own, good, bad] = (await second.score('disc', test)).map(entry => scored(entry).score);
    assert.deepEqual([own, good, bad], before);
    // an image of the whole bank finds itself only where fit and score round alike
    assert.ok(own < 1e-3, `${own}`);
    const highest = calibration.scores.at(-1)!;
    assert.ok(good < highest * 1.25 && bad > highest * 1.2, `good ${good}, bad ${bad}, ${highest} in training`);
    await second.close();
  });

  it('gives the same detector, bit for bit, and the same ranges for images that are added at the same time', async () => {
    const store = scratch();
    const engine = new Engine({ store });
    const images = await parts(20);
    for (let i = 0; i < 2; i++) await engine.fit('same', images, INT8);
    const session = await engine.startFit('same', INT8);
    await Promise.all(images.slice(0, 19).map(image => session.add(image)));
    await session.add(images[19]);
    assert.equal(session.images, 20);
    await session.finish();
    const read = (version: string, file: string) => fs.readFileSync(path.join(store, 'same', version, file));
    assert.ok(read('v1', 'bank.npy').equals(read('v2', 'bank.npy')));
    for (const version of ['v2', 'v3'])
      assert.ok(read('v1', 'ranges.npy').equals(read(version, 'ranges.npy')), version);
    await engine.close();
  });

  it('works with the preset pci, with copies and with a network of one size', async () => {
    const engine = new Engine({ store: scratch() });
    const images = await parts(3);
    const pci = { preset: 'pci', resizeShorter: 72, augment: 'flips', ...INT8 } as const;
    await engine.fit('pci', images, pci);
    await engine.fit('own', images, {
      precision: 'int8',
      backbone: written(residualNet(64, 64).model),
      coresetRatio: 1
    });
    for (const name of ['pci', 'own']) scored((await engine.score(name, images.slice(0, 1)))[0]);
    await engine.close();
  });

  it('is not used where it computes something else than at the fit', async () => {
    const store = scratch();
    const engine = new Engine({ store });
    await engine.fit('disc', await parts(2), INT8);
    await engine.close();
    const folder = path.join(store, 'disc', 'v1');
    const file = path.join(folder, 'ranges.npy');
    const { data, shape } = decodeNpy(fs.readFileSync(file)) as { data: Float32Array; shape: number[] };
    // the fourth tensor's range, a third of what it was
    data[3 * OBSERVED + 1] /= 3;
    const bytes = encodeNpy({ data, shape });
    const sums = path.join(folder, SUMS);
    const text = fs.readFileSync(sums, 'utf8').replace(/[0-9a-f]{64}(?= {2}ranges)/, hash(bytes));
    fs.writeFileSync(file, bytes);
    fs.writeFileSync(sums, text);
    await assert.rejects(new Engine({ store }).load('disc'), code('detector-parity'));
    const other = encodeNpy({ data: data.slice(OBSERVED), shape: [shape[0] - 1, OBSERVED] });
    fs.writeFileSync(file, other);
    fs.writeFileSync(sums, text.replace(hash(bytes), hash(other)));
    await assert.rejects(new Engine({ store }).load('disc'), code('detector-parity'));
  });

  it('refuses a backbone without convolutions when a fit starts', async () => {
    const engine = new Engine({ store: scratch() });
    const backbone = written(transformer().model);
    await assert.rejects(engine.startFit('vit', { precision: 'int8', backbone }), (error: unknown) => {
      assert.match((error as Error).message, /no convolution that could be rounded.*Set the precision to float32/);
      return code('fit-precision')(error);
    });
    await engine.close();
  });

  it('refuses a backbone that 8 bits are too coarse for', async () => {
    const model = residualNet().model;
    // the stem's first channel drowns the others, and nobody reads it
    const [stem, second] = model.graph.node.filter(n => n.opType === 'Conv').map(n => n.input[1]);
    const floats = (name: string): Float32Array =>
      new Float32Array(new Uint8Array(model.graph.initializer.find(t => t.name === name)!.rawData!).buffer);
    const put = (name: string, data: Float32Array): void => {
      model.graph.initializer.find(t => t.name === name)!.rawData = new Uint8Array(data.buffer);
    };
    put(
      stem,
      floats(stem).map((w, i) => (i < 3 * 49 ? 1e4 * Math.abs(w) : w))
    );
    put(
      second,
      floats(second).map((w, i) => (Math.floor(i / 9) % 6 === 0 ? 0 : w))
    );
    const engine = new Engine({ store: scratch() });
    const fit = engine.fit('own', await parts(2), { ...INT8, backbone: written(model) });
    await assert.rejects(fit, code('fit-precision'));
    await assert.rejects(
      engine.startFit('own', { ...SMALL, precision: 'int4' as 'int8' }),
      /precision must be float32 or int8/
    );
    await engine.close();
  });
});
