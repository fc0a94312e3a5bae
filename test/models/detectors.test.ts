import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Engine, type OnnxInfo, type ScoreResult } from '../../lib/engine';
import { decode } from '../../lib/engine/decode';
import { openNetwork } from '../../lib/engine/network/fit';
import { Runtime } from '../../lib/engine/runtime';
import { ROOT, scratch } from '../support';

/** What detectors.py wrote down: what anomalib's own inferencer (or PyTorch) gives. */
interface Expected {
  /** height, width */
  size: [number, number];
  pictures: Record<string, { score: number; shape: [number, number]; step: number; map: number[] }>;
}

const TOLERANCE = 1e-3;
/** anomalib 2 bounds its numbers, which would leave nothing to calibrate with; inside of the bounds they are the same. */
const bounded = (format: string) => (x: number) => (format === 'anomalib' ? Math.min(1, Math.max(0, x)) : x);

/** Gives the largest difference, as a share of the largest number. */
function assertClose(what: string, got: ArrayLike<number>, expected: number[]): number {
  const scale = Math.max(...expected.map(Math.abs), 1e-12);
  const differences = expected.map((value, i) => {
    const difference = Math.abs(got[i] - value) / scale;
    assert.ok(difference < TOLERANCE, `${what}: number ${i} is ${got[i]} instead of ${value}`);
    return difference;
  });
  return Math.max(...differences);
}

/** Score and map as the network gives them, compared in its own geometry; and how well they agree. */
async function compares(folder: string, name: string, expected: Expected) {
  const runtime = await Runtime.create('cpu');
  const { network, facts } = await openNetwork(runtime, { network: path.join(folder, name, 'model.onnx') });
  const differs = { score: 0, map: 0 };
  try {
    assert.deepEqual([facts.input.height, facts.input.width], expected.size);
    for (const [picture, { score, shape, step, map }] of Object.entries(expected.pictures)) {
      const { input } = await network.prepare(await decode(fs.readFileSync(path.join(folder, picture))));
      const got = await network.run(input);
      const grid = got.map!;
      assert.deepEqual([grid.rows, grid.columns], shape, picture);
      const values = Array.from(grid.data.filter((_, i) => i % step === 0)).map(bounded(facts.format));
      differs.map = Math.max(differs.map, assertClose(`${name}, map of ${picture}`, values, map));
      const scores = assertClose(`${name}, score of ${picture}`, [bounded(facts.format)(got.score)], [score]);
      differs.score = Math.max(differs.score, scores);
    }
    return { format: facts.format, differs };
  } finally {
    await network.release();
  }
}

/** One `it` a network that detectors.py left in the folder. */
function each(folder: string, test: (name: string, expected: Expected) => Promise<void>): void {
  const facts = path.join(folder, 'expected.json');
  if (!fs.existsSync(facts)) return;
  for (const [name, expected] of Object.entries(JSON.parse(fs.readFileSync(facts, 'utf8')) as Record<string, Expected>))
    it(name, function () {
      this.timeout(120000);
      return test(name, expected);
    });
}

describe('detectors exported by anomalib, and others', () => {
  const folder = path.join(ROOT, 'test/fixtures/detectors');
  const formats: Record<string, string> = {
    'padim-1x': 'anomalib-1',
    'efficientad-maps': 'efficientad',
    autoencoder: 'autoencoder'
  };
  each(folder, async (name, expected) => {
    assert.equal((await compares(folder, name, expected)).format, formats[name] ?? 'anomalib');
    const engine = new Engine({ store: scratch(), device: 'cpu' });
    const pictures = ['good.png', 'bad.png'].map(file => fs.readFileSync(path.join(folder, file)));
    const fitted = await engine.fit('part', [pictures[0]], { network: path.join(folder, name, 'model.onnx') });
    const info = (await engine.load('part')) as OnnxInfo;
    assert.deepEqual([info.kind, info.calibration.method, info.images], ['onnx', 'scored', 1]);
    const results = (await engine.score('part', pictures)) as ScoreResult[];
    const expectedScores = Object.values(expected.pictures).map(p => p.score);
    results.forEach((result, i) =>
      assertClose('score', [bounded(info.network.format)(result.score)], [expectedScores[i]])
    );
    assert.ok(Math.abs(fitted.calibration.scores[0] - results[0].score) < 1e-6);
    assert.deepEqual(
      [results[0].map!.width, results[0].map!.height],
      [results[0].image.width, results[0].image.height]
    );
    await engine.close();
  });

  it('keep the threshold that they bring along', async () => {
    const own = async (name: string) => {
      const opened = await openNetwork(await Runtime.create('cpu'), { network: path.join(folder, name, 'model.onnx') });
      await opened.network.release();
      return opened.own;
    };
    const metadata = JSON.parse(fs.readFileSync(path.join(folder, 'padim-1x/metadata.json'), 'utf8')) as Record<
      string,
      number
    >;
    assert.deepEqual(await own('padim'), { score: 0.5, map: 0.5 });
    assert.deepEqual(await own('padim-1x'), { score: metadata.image_threshold, map: metadata.pixel_threshold });
    assert.equal(await own('efficientad-maps'), undefined);
  });
});

describe('detectors of their usual size, trained by test/models/detectors.py full', () => {
  const home = path.join(ROOT, 'test/.cache/detectors');
  const classes = fs.existsSync(home) ? fs.readdirSync(home) : [];
  if (!classes.length)
    it('give what anomalib gives', function () {
      console.log(
        '      skipped: test/.cache/detectors is not here; python test/models/detectors.py full <folder> makes it'
      );
      this.skip();
    });
  for (const name of classes)
    describe(name, () =>
      each(path.join(home, name), async (net, expected) => {
        const { score, map } = (await compares(path.join(home, name), net, expected)).differs;
        console.log(`      ${net} differs by ${score.toExponential(1)} (score), ${map.toExponential(1)} (map)`);
      })
    );
});
