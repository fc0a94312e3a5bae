import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { Engine, GoodpartsError, limitOf, type FitSettings, type ScoreResult } from '../../lib/engine';
import { decode } from '../../lib/engine/decode';
import { GraphBuilder } from '../../lib/engine/onnx/builder';
import { decodeModel } from '../../lib/engine/onnx/proto';
import { upgrade } from '../../lib/engine/onnx/upgrade';
import { python } from '../services/python';
import { part, parts, put, ROOT, scratch, shared, SMALL } from '../support';

const LIMIT = { method: 'percentile', value: 99 } as const;

/** What plain ONNX Runtime says of a picture. */
interface Plain {
  score: number;
  map: Float32Array;
  shape: readonly number[];
  anomalous: boolean;
}

async function plain(model: Uint8Array, picture: Buffer): Promise<Plain> {
  const ort = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(model, { logSeverityLevel: 3 });
  const { data, width, height } = await decode(picture);
  const { score, map, anomalous } = await session.run({ image: new ort.Tensor('uint8', data, [height, width, 3]) });
  await session.release();
  return {
    score: (score.data as Float32Array)[0],
    map: map.data as Float32Array,
    shape: map.dims,
    anomalous: Boolean((anomalous.data as Uint8Array)[0])
  };
}

function agrees({ score, map, shape }: Omit<Plain, 'anomalous'>, ours: ScoreResult): void {
  const { data, width, height, threshold } = ours.map!;
  assert.deepEqual([...shape], [height, width]);
  assert.ok(Math.abs(score - ours.score) < 1e-5 * ours.score, `${score} is not ${ours.score}`);
  const expected = new Float32Array(data.buffer, data.byteOffset, width * height);
  const wrong = expected.findIndex((e, i) =>
    Number.isNaN(e) ? !Number.isNaN(map[i]) : !(Math.abs(map[i] - e) < 1e-4 * threshold)
  );
  assert.equal(wrong, -1, `${map[wrong]} is not ${expected[wrong]} at ${wrong}`);
}

describe('export to ONNX', function () {
  this.timeout(120_000);
  const store = scratch();
  const engine = new Engine({ store, device: 'cpu', threads: 2 });
  after(() => engine.close());

  const scored = async (name: string, picture: Buffer): Promise<ScoreResult> => {
    const [result] = await engine.score(name, [picture]);
    if (result instanceof GoodpartsError) throw result;
    return result;
  };
  const oblong = async (seed: number, defect = false): Promise<Buffer> =>
    sharp(await part({ seed, defect, size: 160 }))
      .resize(161, 123, { fit: 'fill' })
      .png()
      .toBuffer();

  const CASES: Record<string, FitSettings> = {
    anomalib: SMALL,
    pci: { preset: 'pci', inputWidth: 64, inputHeight: 64, resizeShorter: 72 },
    int8: { ...SMALL, precision: 'int8' },
    'weighted-layers': { ...SMALL, layerWeights: [1, 2], smoothing: 0 }
  };
  for (const [name, settings] of Object.entries(CASES))
    it(`says the same as the engine: ${name}`, async () => {
      await engine.fit(name, await parts(6, { size: 120 }), settings);
      const model = await engine.exportOnnx(name, LIMIT);
      for (const picture of [await part({ seed: 1, size: 120 }), await oblong(2), await oblong(3, true)])
        agrees(await plain(model, picture), await scored(name, picture));
    });

  it('says the same with networks of older operators', async function () {
    const good = await parts(4, { size: 120 });
    for (const file of ['squeezenet11_full.onnx', 'resnet50v2_l23.onnx']) {
      const backbone = shared(this, 'weights', file);
      await engine.fit('other', good, { backbone, inputWidth: 96, inputHeight: 96, coresetRatio: 0.5 });
      const model = await engine.exportOnnx('other', LIMIT);
      const picture = await oblong(4, true);
      agrees(await plain(model, picture), await scored('other', picture));
    }
  });

  it('draws the verdict from the threshold in the file', async () => {
    const model = await engine.exportOnnx('anomalib', LIMIT);
    const [good, bad] = [await part({ seed: 100, size: 120 }), await oblong(3, true)];
    const limit = limitOf(LIMIT, (await engine.load('anomalib')).calibration.scores);
    for (const picture of [good, bad])
      assert.equal((await plain(model, picture)).anomalous, (await scored('anomalib', picture)).score > limit);
    assert.equal((await plain(model, bad)).anomalous, true);
  });

  it('carries who it is and whose licence the backbone is under', async () => {
    const { metadataProps } = decodeModel(await engine.exportOnnx('pci', { method: 'fixed', value: 0.5 }));
    const told = Object.fromEntries(metadataProps!.map(({ key, value }) => [key, value]));
    const { name, version, threshold, threshold_rule, backbone, backbone_licence } = told;
    assert.deepEqual(
      { name, version, threshold, threshold_rule, backbone, backbone_licence },
      {
        name: 'pci',
        version: 'v1',
        threshold: '0.5',
        threshold_rule: 'fixed 0.5',
        backbone: 'embedded',
        backbone_licence: 'Apache-2.0 (Goodparts)'
      }
    );
  });

  it('gives plain Python the same numbers, and takes another threshold from it', async function () {
    const interpreter = python(this, 'onnxruntime', 'numpy', 'pillow');
    const folder = scratch();
    const files = ['good.png', 'bad.png'].map(name => path.join(folder, name));
    put(files[0], await part({ seed: 8, size: 120 }));
    put(files[1], await oblong(9, true));
    put(path.join(folder, 'detector.onnx'), await engine.exportOnnx('anomalib', LIMIT));
    const script = path.join(ROOT, 'test/engine/export.py');
    const { stdout } = await promisify(execFile)(interpreter, [script, path.join(folder, 'detector.onnx'), ...files]);
    for (const [i, line] of stdout.trim().split('\n').entries()) {
      const { score, shape, name, anomalous, strict } = JSON.parse(line) as Plain & { name: string; strict: boolean };
      const map = new Float32Array(new Uint8Array(fs.readFileSync(`${files[i]}.map`)).buffer);
      agrees({ score, shape, map }, await scored('anomalib', fs.readFileSync(files[i])));
      assert.deepEqual([name, anomalous, strict], ['anomalib', i === 1, true]);
    }
  });

  it('refuses what it cannot bring over, and says so', () => {
    const g = new GraphBuilder();
    g.output(g.op('Softmax', [g.input('x', 'float', [1, 4])], { axis: 1 }), 'y', 'float', [1, 4]);
    const model = decodeModel(g.build());
    model.opsetImport[0].version = 11;
    assert.match(upgrade(model, GraphBuilder.opset)!, /Softmax along another axis/);
  });
});
