import assert from 'node:assert/strict';
import { augmented } from '../../lib/engine/augment';
import type { Picture } from '../../lib/engine/decode';
import { Engine, GoodpartsError, ScoreResult } from '../../lib/engine';
import { Extractor } from '../../lib/engine/features';
import { completeSettings } from '../../lib/engine/presets';
import { randomStream } from '../../lib/engine/random';
import { Runtime } from '../../lib/engine/runtime';
import type { FitSettings } from '../../lib/engine/types';
import { part, parts, scratch } from '../support';
import { residualNet, transformer, written } from './networks';

const code = (expected: string, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof GoodpartsError, String(error));
  assert.equal(error.code, expected);
  assert.match(error.message, text);
  return true;
};

function noisy(width: number, height: number, seed = 3): Picture {
  const random = randomStream(seed);
  return { data: Uint8Array.from({ length: width * height * 3 }, () => random() * 256), width, height };
}

/** How far apart, of the largest value. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let [worst, scale] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    worst = Math.max(worst, Math.abs(a[i] - b[i]));
    scale = Math.max(scale, Math.abs(b[i]));
  }
  return worst / scale;
}

type Kernel = (t: number) => number;
/** Keys' cubic with a = -1/2. */
const cubic: Kernel = t => {
  const x = Math.abs(t);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
};

/** Of the pixels of an axis in one of the resized; the kernel is widened for a smaller picture, as Pillow and PyTorch have it. */
function weightsOf(kernel: Kernel, from: number, to: number, at: number): Map<number, number> {
  const scale = Math.max(1, from / to);
  const centre = ((at + 0.5) * from) / to;
  const weights = new Map<number, number>();
  for (let i = 0; i < from; i++) {
    const w = kernel((i + 0.5 - centre) / scale);
    if (w) weights.set(i, w);
  }
  const sum = [...weights.values()].reduce((a, b) => a + b, 0);
  return new Map([...weights].map(([i, w]) => [i, w / sum]));
}

describe('patch embeddings', () => {
  let runtime: Runtime;
  let extractors: Extractor[] = [];
  before(async () => (runtime = await Runtime.create('cpu')));
  afterEach(async () => {
    for (const extractor of extractors) await extractor.release();
    extractors = [];
  });

  async function extractor(given: FitSettings): Promise<Extractor> {
    const made = await Extractor.create(runtime, completeSettings(given));
    extractors.push(made);
    return made;
  }
  async function embedded(given: FitSettings, picture: Picture) {
    const made = await extractor(given);
    return made.embed([(await made.prepare(picture)).input]);
  }

  it('multiply each layer with its weight, and have one weight a layer', async () => {
    const backbone = written(residualNet().model);
    const size = { backbone, inputWidth: 64, inputHeight: 64 };
    const picture = noisy(64, 64);
    const even = (await embedded(size, picture)).patches[0];
    const weighed = (await embedded({ ...size, layerWeights: [1, 0.25] }, picture)).patches[0];
    const expected = even.map((value, i) => (i % 20 < 8 ? value : value / 4));
    assert.ok(difference(weighed, expected) < 1e-6);
    await assert.rejects(
      extractor({ ...size, layerWeights: [1, 2, 3] }),
      code('fit-settings', /3 numbers for 2 layers/)
    );
    for (const layerWeights of [[0], [NaN], ['x'] as never])
      assert.throws(() => completeSettings({ layerWeights }), code('fit-settings', /layerWeights must be/));
    assert.throws(() => completeSettings({ augment: 'all' as never }), code('fit-settings', /none, flips, rotations/));
  });

  it('of a transformer are its patch tokens, row by row; with anomaly-dino at unit length', async () => {
    for (const others of [1, 5]) {
      const net = transformer({ others });
      const backbone = written(net.model);
      const settings = { preset: 'anomaly-dino' as const, backbone, inputWidth: 70, inputHeight: 42 };
      const made = await extractor(settings);
      const { input } = await made.prepare(noisy(90, 60));
      const { patches, rows, columns, dimensions } = await made.embed([input, input.map(x => -x)]);
      assert.deepEqual([rows, columns, dimensions], [3, 5, 6]);
      const { session } = made.backbone;
      const maps = await session.run({ [session.inputs[0]]: { data: input, dims: [1, 3, 42, 70] } });
      const tokens = maps[net.taps[0]].data.subarray(others * 6);
      assert.equal(tokens.length, 15 * 6);
      const unit = tokens.map((x, i) => {
        const token = tokens.subarray(i - (i % 6), i - (i % 6) + 6);
        return x / Math.hypot(...token);
      });
      assert.ok(difference(patches[0], unit) < 1e-5);
      assert.ok(difference(patches[1], unit) > 0.1, 'another picture');
    }
  });

  it('of a transformer can be used by the other presets, and of several layers', async () => {
    const net = transformer();
    const settings = { backbone: written(net.model), layers: [net.block, net.taps[0]] };
    const { rows, columns, dimensions } = await embedded(
      { ...settings, inputWidth: 56, inputHeight: 56 },
      noisy(56, 56)
    );
    assert.deepEqual([rows, columns, dimensions], [4, 4, 12]);
    const pci = { ...settings, preset: 'pci' as const, inputWidth: 56, inputHeight: 56, resizeShorter: 64 };
    assert.equal((await embedded(pci, noisy(70, 64))).dimensions, 1024);
    await assert.rejects(
      extractor({ preset: 'anomaly-dino' }),
      code('backbone-taps', /anomaly-dino needs a vision transformer.*embedded is none/)
    );
  });

  it('of tensors with channels last are those of the map', async () => {
    const { model, taps } = residualNet();
    const perm = { name: 'perm', type: 7, ints: [0, 2, 3, 1] };
    taps.forEach((tap, i) =>
      model.graph.node.push({ opType: 'Transpose', input: [tap], output: [`last${i}`], attribute: [perm] })
    );
    const size = { backbone: written(model), inputWidth: 96, inputHeight: 64 };
    const picture = noisy(96, 64);
    const first = await embedded({ ...size, layers: taps }, picture);
    const last = await embedded({ ...size, layers: ['last0', 'last1'] }, picture);
    assert.deepEqual([last.rows, last.columns], [8, 12]);
    assert.ok(difference(last.patches[0], first.patches[0]) < 1e-6);
  });

  const resizes: [Required<FitSettings>['preset'], string, Kernel][] = [['anomaly-dino', 'bicubic', cubic]];
  const resized = async (preset: (typeof resizes)[0][0], kernel: Kernel): Promise<void> => {
    const made = await extractor({
      preset,
      backbone: written(transformer().model),
      inputWidth: 42,
      inputHeight: 70
    });
    const { mean, std } = made.backbone;
    for (const [width, height] of [
      [60, 100],
      [19, 41]
    ]) {
      const { data } = noisy(width, height);
      const { input } = await made.prepare({ data, width, height });
      const expected = Float32Array.from(input, (_, i) => {
        const [c, y, x] = [Math.floor(i / 2940), Math.floor((i % 2940) / 42), i % 42];
        let sum = 0;
        for (const [row, down] of weightsOf(kernel, height, 70, y))
          for (const [column, across] of weightsOf(kernel, width, 42, x))
            sum += down * across * data[(row * width + column) * 3 + c];
        return (sum / 255 - mean[c]) / std[c];
      });
      assert.ok(difference(input, expected) < 1e-4, `${width} x ${height}: ${difference(input, expected)}`);
    }
  };
  for (const [preset, name, kernel] of resizes)
    it(`of ${preset} see the picture through a ${name}, antialiased resize, up to its edges`, () =>
      resized(preset, kernel));

  it('have the size that the backbone takes: whole patches, or its only one, which is said', async () => {
    const engine = new Engine({ store: scratch() });
    const images = await parts(2);
    const any = written(transformer().model);
    const rounded = await engine.fit('any', images, {
      backbone: any,
      inputWidth: 65,
      inputHeight: 80,
      coresetRatio: 1
    });
    assert.match(rounded.note!, /takes multiples of 14 pixels: 56 x 70 is used instead of 65 x 80\.$/);
    const backbone = written(transformer({ positions: 6 }).model);
    const only = await engine.fit('only', images, { backbone });
    assert.match(only.note!, /takes pictures of 84 x 84 pixels only: 84 x 84 is used instead of 256 x 256\.$/);
    await assert.rejects(
      engine.fit('only', images, { backbone, inputWidth: 100, inputHeight: 84 }),
      code('backbone-size', /84 x 84 pixels only; set the input size to that/)
    );
    const fits = await engine.fit('only', images, { backbone, inputWidth: 84, inputHeight: 84 });
    assert.equal(fits.note, undefined);
    await assert.rejects(
      engine.fit('only', images, { backbone: written(transformer({ positions: 20 }).model), preset: 'pci' }),
      code('backbone-size', /280 x 280 pixels, which do not fit into a picture resized to 256/)
    );
    const [info] = (await engine.list()).filter(d => d.name === 'any');
    assert.deepEqual([info.settings.inputWidth, info.settings.inputHeight], [56, 70]);
    const [own, bad] = (await engine.score('any', [images[0], await part({ defect: true })])) as ScoreResult[];
    assert.ok(own.score < 1e-3 * bad.score, `${own.score} of a learned picture, ${bad.score} of a bad one`);
  });
});

describe('copies of good images', () => {
  const pixel = ({ data, width }: Picture, x: number, y: number) => [
    ...data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3)
  ];

  it('are mirrored both ways, or turned about the middle', async () => {
    const picture = noisy(21, 13);
    assert.deepEqual(await augmented(picture, 'none'), [picture]);
    const [same, flop, flip, both] = await augmented(picture, 'flips');
    assert.equal(same, picture);
    for (const [x, y] of [
      [0, 0],
      [4, 9],
      [20, 12]
    ]) {
      assert.deepEqual(pixel(flop, 20 - x, y), pixel(picture, x, y));
      assert.deepEqual(pixel(flip, x, 12 - y), pixel(picture, x, y));
      assert.deepEqual(pixel(both, 20 - x, 12 - y), pixel(picture, x, y));
    }
    const turns = await augmented(picture, 'rotations');
    assert.equal(turns.length, 8);
    for (const { width, height, data } of turns) assert.deepEqual([width, height, data.length], [21, 13, 21 * 13 * 3]);
    // by 90 degrees clockwise what was above the middle is on its right
    assert.deepEqual(pixel(turns[2], 14, 6), pixel(picture, 10, 2));
    assert.deepEqual(pixel(turns[4], 20, 12), pixel(picture, 0, 0));
    // nothing black comes in at the corners
    const white = { data: new Uint8Array(20 * 30 * 3).fill(250), width: 20, height: 30 };
    for (const { data } of await augmented(white, 'rotations')) assert.ok(data.every(value => value >= 249));
  });

  it('make a detector of one image know it turned, and do not count as images', async () => {
    const engine = new Engine({ store: scratch() });
    const good = noisy(96, 96, 5);
    // a picture with a clear direction: dark stripes across
    good.data.forEach((v, i) => (good.data[i] = (Math.floor(i / 3 / 96) % 16 < 6 ? 40 : 200) + (v & 15)));
    const raw = (p: Picture) => ({ ...p, channels: 3 as const });
    const turned = raw((await augmented(good, 'rotations'))[2]);
    const settings = { inputWidth: 96, inputHeight: 96, coresetRatio: 1 };
    const score = async (name: string) => ((await engine.score(name, [turned])) as ScoreResult[])[0].score;
    await engine.fit('plain', [raw(good)], settings);
    const { images, patches, calibration } = await engine.fit('turns', [raw(good)], {
      ...settings,
      augment: 'rotations'
    });
    assert.deepEqual([images, patches, calibration.method], [1, 8 * 144, 'perturbed']);
    const [plain, turns] = [await score('plain'), await score('turns')];
    // not zero: of patches that are almost alike the 8-bit filter may find another one
    assert.ok(turns < 0.1 * plain, `${turns} with copies, ${plain} without`);
  });

  it('leave a calibration with the images themselves: each without its copies', async () => {
    const engine = new Engine({ store: scratch() });
    const small = { inputWidth: 64, inputHeight: 64 };
    // every image is its own mirror image: the copies change nothing, unless an image finds itself in one of its copies
    const images: Buffer[] = [];
    for (let i = 0; i < 6; i++) images.push(await part({ seed: 300 + i }));
    const plain = await engine.fit('plain', images, { ...small, coresetRatio: 1 });
    const flips = await engine.fit('flips', images, { ...small, coresetRatio: 1, augment: 'flips' });
    assert.equal(flips.calibration.scores.length, 6);
    assert.equal(flips.patches, 4 * plain.patches);
    const ratio = flips.calibration.scores[2] / plain.calibration.scores[2];
    assert.ok(ratio > 0.6 && ratio < 1.1, `${ratio}`);
  });
});
