import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Engine, GoodpartsError, type FitSettings, type OnnxInfo, type ScoreResult } from '../../lib/engine';
import { readMetadata } from '../../lib/engine/network/metadata';
import { GraphBuilder, type Dim } from '../../lib/engine/onnx/builder';
import { tensorOf } from '../../lib/engine/onnx/fold';
import { DataType, decodeModel, reencodeModel } from '../../lib/engine/onnx/proto';
import { DetectorStore, type StoredDetector } from '../../lib/engine/store';
import { put, scratch } from '../support';
import { brightness, HEIGHT, network, WIDTH } from './networks';

const code =
  (expected: string, says = /./) =>
  (error: unknown) => {
    assert.ok(error instanceof GoodpartsError, String(error));
    assert.equal(error.code, expected, error.message);
    assert.match(error.message, says);
    return true;
  };

const MAP: Dim[] = [1, 1, HEIGHT, WIDTH];
/** Raw pixels of one grey, or of a grey for each column. */
function grey(level: number | ((column: number) => number), width = WIDTH, height = HEIGHT) {
  const at = typeof level === 'number' ? () => level : level;
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => at(Math.floor(i / 3) % width));
  return { data, width, height, channels: 3 as const };
}

async function fitted(settings: FitSettings, good = [grey(51)]): Promise<Engine> {
  const engine = new Engine({ store: scratch(), device: 'cpu' });
  await engine.fit('part', good, settings);
  return engine;
}

const scoresOf = async (engine: Engine, images: Parameters<Engine['score']>[1]): Promise<number[]> =>
  (await engine.score('part', images)).map(r => (r as ScoreResult).score);

const near = (got: number, expected: number, tolerance = 1e-5): void =>
  assert.ok(Math.abs(got - expected) < tolerance, `${got} instead of ${expected}`);

describe('ONNX detector', () => {
  it('compares what an autoencoder gives back: mean squared error, channels first or last', async () => {
    const half = (g: GraphBuilder, x: string) => g.op('Mul', [x, g.scalar(0.5)]);
    const first = network((g, x) => [[half(g, x), 'back', ['N', 3, 'h', 'w']]], ['N', 3, 'h', 'w']);
    const last = network((g, x) => [[half(g, x), 'back', [1, HEIGHT, WIDTH, 3]]], [1, HEIGHT, WIDTH, 3]);
    for (const file of [first, last]) {
      const size = file === first ? { inputWidth: WIDTH, inputHeight: HEIGHT } : {};
      const engine = await fitted({ network: file, ...size });
      const [result] = (await engine.score('part', [grey(x => (x < 24 ? 51 : 204))])) as ScoreResult[];
      near(result.score, (0.1 ** 2 + 0.4 ** 2) / 2);
      const map = new Float32Array(result.map!.data.buffer, result.map!.data.byteOffset);
      near(map[0], 0.1 ** 2);
      near(map[WIDTH - 1], 0.4 ** 2);
      // a good part of .2 has .01 everywhere in its map: the brighter half is above it
      assert.deepEqual(
        result.regions.map(r => [r.x, r.width, r.height]),
        [[24, 24, HEIGHT]]
      );
      near(result.damage, 0.5);
      await engine.close();
    }
  });

  it('gives a network that ends with Tanh numbers from -1 to 1', async () => {
    const file = network((g, x) => [[g.op('Tanh', [g.op('Mul', [x, g.scalar(0)])]), 'back', [1, 3, HEIGHT, WIDTH]]]);
    const engine = await fitted({ network: file });
    const [white, middle] = await scoresOf(engine, [grey(255), grey(127)]);
    near(white, 1);
    assert.ok(middle < 1e-4);
  });

  it('compares by structural similarity where that is asked for', async () => {
    const file = network((g, x) => [[g.op('Mul', [x, g.scalar(0.5)]), 'back', [1, 3, HEIGHT, WIDTH]]]);
    const engine = await fitted({ network: file, reconstruction: 'ssim' });
    const [flat, striped] = await scoresOf(engine, [grey(204), grey(x => (x % 6 < 3 ? 204 : 51))]);
    // without structure only the means count: (2 xy + c) / (x2 + y2 + c)
    near(flat, 1 - (2 * 0.8 * 0.4 + 1e-4) / (0.8 ** 2 + 0.4 ** 2 + 1e-4), 1e-3);
    // half of the contrast is the same factor again
    near(striped, 1 - 0.8 ** 2, 5e-3);
  });

  it('normalises the picture of an EfficientAD that does not do so itself', async () => {
    const outputs = (g: GraphBuilder, x: string): [string, string, Dim[]][] => {
      const { map, score } = brightness(g, x);
      return [
        [map, 'combined_map', MAP],
        [score, 'image_score', [1]]
      ];
    };
    const outside = await fitted({ network: network(outputs) });
    const mean = [0.485, 0.456, 0.406].map((m, i) => (0.6 - m) / [0.229, 0.224, 0.225][i]).reduce((a, b) => a + b) / 3;
    near((await scoresOf(outside, [grey(153)]))[0], mean);
    const inside = network((g, x) => outputs(g, g.op('Sub', [x, g.floats(Float32Array.of(0.5, 0.4, 0.3), [3, 1, 1])])));
    near((await scoresOf(await fitted({ network: inside }), [grey(153)]))[0], 0.2);
  });

  it('takes the bound off what anomalib gives, and keeps its threshold', async () => {
    const file = network((g, x) => {
      const { map, score } = brightness(g, g.op('Mul', [x, g.scalar(3)]));
      const clip = (t: string) => g.op('Clip', [t, g.scalar(0), g.scalar(1)]);
      return [
        [clip(score), 'pred_score', [1]],
        [clip(map), 'anomaly_map', MAP]
      ];
    });
    const engine = await fitted({ network: file });
    near((await scoresOf(engine, [grey(204)]))[0], 2.4);
    assert.equal(((await engine.load('part')) as OnnxInfo).calibration.own, undefined);
  });

  /** As anomalib 2 exports: scaled where it was validated, with a label and a mask. */
  function labelled(validated: boolean): string {
    const g = new GraphBuilder();
    const { map, score } = brightness(g, g.input('x', 'float', [1, 3, HEIGHT, WIDTH]));
    const output = (tensor: string, name: string, dims: Dim[]) => {
      const scaled = g.op('Clip', [g.op('Mul', [tensor, g.scalar(3)]), g.scalar(0), g.scalar(1)]);
      g.output(g.op('Where', ['validated', scaled, tensor]), name, 'float', dims);
    };
    output(score, 'pred_score', [1]);
    output(map, 'anomaly_map', MAP);
    const model = decodeModel(g.build());
    const boundaries = [0.4, 0.7].map((value, i) =>
      tensorOf(`boundary${i}`, DataType.float, Float32Array.of(value), [])
    );
    model.graph.initializer.push(...boundaries);
    model.graph.initializer.push(tensorOf('validated', DataType.bool, Uint8Array.of(Number(validated)), []));
    const greater = (from: string, than: string, label: string) => {
      model.graph.node.push({ opType: 'Greater', input: [from, than], output: [label], attribute: [] });
      model.graph.output.push({ name: label, type: { tensorType: { elemType: DataType.bool } } });
    };
    greater('pred_score', 'boundary0', 'pred_label');
    greater('anomaly_map', 'boundary1', 'pred_mask');
    const file = path.join(scratch(), 'net.onnx');
    put(file, reencodeModel(model));
    return file;
  }

  it('keeps the boundary that its sensitivity was set to', async () => {
    const engine = await fitted({ network: labelled(true) });
    const { own } = ((await engine.load('part')) as OnnxInfo).calibration;
    near(own!.score!, 0.4);
    near(own!.map!, 0.7);
    near((await scoresOf(engine, [grey(204)]))[0], 2.4);
  });

  it('knows of no boundary where anomalib never validated, and so never scaled', async () => {
    const engine = await fitted({ network: labelled(false) });
    assert.equal(((await engine.load('part')) as OnnxInfo).calibration.own, undefined);
    near((await scoresOf(engine, [grey(204)]))[0], 0.8);
  });

  it('places the map of a network that looks at the middle of its pictures only', async () => {
    const file = network((g, x) => {
      const middle = g.op('Slice', [x, g.ints(4, 6), g.ints(28, 42), g.ints(2, 3)]);
      return [[brightness(g, middle).map, 'anomaly_map', [1, 1, 24, 36]]];
    });
    const engine = await fitted({ network: file });
    assert.deepEqual(((await engine.load('part')) as OnnxInfo).network.covered, { width: 36, height: 24 });
    const [{ map }] = (await engine.score('part', [grey(x => x)])) as [ScoreResult];
    const values = new Float32Array(map!.data.buffer, map!.data.byteOffset, WIDTH * HEIGHT);
    const row = values.subarray(16 * WIDTH, 17 * WIDTH);
    assert.deepEqual([row[5], row[42], values[3 * WIDTH + 20], values[28 * WIDTH + 20]], [NaN, NaN, NaN, NaN]);
    for (const x of [6, 20, 41]) near(row[x], x / 255);
    // a map that is only coarser is not taken for a part of the picture
    const coarse = network((g, x) => {
      const { map: whole } = brightness(g, g.op('AveragePool', [x], { kernel_shape: [2, 2], strides: [2, 2] }));
      return [[whole, 'anomaly_map', [1, 1, 16, 24]]];
    });
    const other = (await (await fitted({ network: coarse })).load('part')) as OnnxInfo;
    assert.deepEqual(other.network.covered, { width: WIDTH, height: HEIGHT });
  });

  it('works with a score alone: no map, no regions', async () => {
    const engine = await fitted({ network: network((g, x) => [[brightness(g, x).score, 'pred_score', [1]]]) });
    const [result] = (await engine.score('part', [grey(204)])) as ScoreResult[];
    near(result.score, 0.8);
    assert.deepEqual([result.map, result.regions, result.damage], [undefined, [], 0]);
  });

  it('takes the maximum of the map where there is no score, and resizes pictures of any size', async () => {
    const file = network((g, x) => [[brightness(g, x).map, 'anomaly_map', MAP]]);
    const engine = await fitted({ network: file });
    const [result] = (await engine.score('part', [grey(204, 200, 100)])) as ScoreResult[];
    near(result.score, 0.8);
    assert.deepEqual([result.map!.width, result.map!.height, result.image], [200, 100, { width: 200, height: 100 }]);
  });

  it('answers a picture for which the network gives no number with an error of its own', async () => {
    const file = network((g, x) => [
      [g.op('Sqrt', [g.op('Sub', [brightness(g, x).map, g.scalar(0.1)])]), 'anomaly_map', MAP]
    ]);
    // the drawn picture of the self-test is brighter than that everywhere
    const engine = await fitted({ network: file });
    const [good, dark, again] = await engine.score('part', [grey(51), grey(0), grey(51)]);
    code('network-output', /NaN/)(dark);
    assert.equal((good as ScoreResult).score, (again as ScoreResult).score);
    await assert.rejects(engine.fit('part', [grey(0)], { network: file }), code('network-output'));
  });

  it('refuses what is no detector, with its outputs and what would be one', async () => {
    const engine = new Engine({ store: scratch(), device: 'cpu' });
    const refuses = (file: string, expected: string, says: RegExp) =>
      assert.rejects(engine.fit('part', [grey(51)], { network: file }), code(expected, says));
    const classifier = network((g, x) => [[g.op('ReduceMean', [x, g.ints(2, 3)], { keepdims: 0 }), 'logits', [1, 3]]]);
    await refuses(classifier, 'network-unknown', /logits \[1, 3\].*anomalib.*autoencoder.*backbone/);
    const two = network((g, x) => [
      [g.op('Concat', [brightness(g, x).map, brightness(g, x).map], { axis: 1 }), 'anomaly_map', [1, 2, HEIGHT, WIDTH]]
    ]);
    await refuses(two, 'network-output', /\[1, 2, 32, 48\] as anomaly_map/);
    const many = network((g, x) => [[g.op('ReduceMean', [x, g.ints(2, 3)], { keepdims: 0 }), 'pred_score', [1, 3]]]);
    await refuses(many, 'network-output', /3 numbers as pred_score/);
    const smaller = network((g, x) => [
      [g.op('AveragePool', [x], { kernel_shape: [2, 2], strides: [2, 2] }), 'back', ['n', 3, 'h', 'w']]
    ]);
    await refuses(smaller, 'network-output', /no autoencoder/);
    const text = path.join(scratch(), 'net.onnx');
    put(text, 'no network');
    await refuses(text, 'backbone-unreadable', /not an ONNX model/);
    await refuses(text + 'x', 'backbone-missing', /cannot be read/);
    const fixed = network((g, x) => [[brightness(g, x).map, 'anomaly_map', MAP]]);
    const sized = engine.fit('part', [grey(51)], { network: fixed, inputWidth: 64, inputHeight: 64 });
    await assert.rejects(sized, code('backbone-size', /48 x 32 pixels only/));
    assert.deepEqual(await engine.list(), []);
  });

  it('is whole in the store: it needs its file no more, and is checked like any other', async () => {
    const file = network((g, x) => [[brightness(g, x).map, 'anomaly_map', MAP]]);
    const bytes = fs.readFileSync(file);
    const engine = await fitted({ network: file });
    fs.rmSync(file);
    const store = new DetectorStore(engine.options.store);
    const { info, arrays, files } = (await store.read('part', 'v1')) as StoredDetector<'onnx'>;
    assert.deepEqual(Buffer.from(files['network.onnx']), bytes);
    assert.equal(info.network.source.file, 'net.onnx');
    const fresh = () => new Engine({ store: store.folder, device: 'cpu' });
    near((await scoresOf(fresh(), [grey(204)]))[0], 0.8);
    await store.save({ ...info, selfTest: { score: info.selfTest.score * 1.01 } }, arrays, files);
    await assert.rejects(fresh().load('part'), code('detector-parity'));
    fs.appendFileSync(path.join(store.folder, 'part/v1/network.onnx'), 'x');
    await assert.rejects(fresh().load('part', 'v1'), code('detector-damaged', /network\.onnx/));
  });

  it('says so where good parts are above the threshold that the network brought along', async () => {
    const file = network((g, x) => [[brightness(g, x).map, 'output', MAP]]);
    put(path.join(path.dirname(file), 'metadata.json'), JSON.stringify({ image_threshold: 0.5, pixel_threshold: 0.6 }));
    const engine = new Engine({ store: scratch(), device: 'cpu' });
    const { note, calibration } = await engine.fit('part', [grey(204), grey(51)], { network: file });
    assert.match(note!, /1 of 2 good images/);
    assert.deepEqual(calibration.own, { score: 0.5, map: 0.6 });
    assert.equal((await engine.fit('part', [grey(51)], { network: file })).note, undefined);
  });

  it('can be planned and tried like any other', async () => {
    const file = network((g, x) => [[brightness(g, x).map, 'anomaly_map', MAP]]);
    const engine = new Engine({ store: scratch(), device: 'cpu' });
    const plan = await engine.plan({ network: file }, { images: 10 });
    assert.deepEqual([plan.input, plan.bankSize], [{ width: WIDTH, height: HEIGHT }, 0]);
    assert.ok(plan.scoreMs > 0 && plan.fitSeconds.total > 0 && plan.detectorMb > 0);
    const { checks } = await engine.doctor({ name: 'part', settings: { network: file } });
    assert.match(checks.find(c => c.what === 'Network')!.detail, /anomalib, 48 x 32 pixels/);
  });

  it('stops when asked', async () => {
    const file = network((g, x) => [[brightness(g, x).map, 'anomaly_map', MAP]]);
    const engine = new Engine({ store: scratch(), device: 'cpu' });
    const session = await engine.startFit('part', { network: file });
    await assert.rejects(session.finish(), code('fit-no-images'));
    await session.add(grey(51));
    session.abort();
    await assert.rejects(session.add(grey(51)), code('fit-aborted'));
    assert.deepEqual(await engine.list(), []);
  });

  it('reads the metadata of anomalib 1', () => {
    const step = (name: string, more: object) => ({ __class_fullname__: name, ...more });
    const transforms = [
      step('Resize', { height: 256, width: 320 }),
      step('CenterCrop', { height: 224, width: 224 }),
      step('Normalize', { mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2] })
    ];
    const json = { image_threshold: 12.5, transform: { transform: { transforms } } };
    assert.deepEqual(readMetadata(JSON.stringify(json)), {
      own: { score: 12.5 },
      values: { mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2] },
      resized: { width: 320, height: 256 },
      crop: { width: 224, height: 224 }
    });
    for (const other of [undefined, '', '[]', 'null', '{"name": "x"}', '{"image_threshold": "a"}'])
      assert.deepEqual(readMetadata(other), {});
  });
});
