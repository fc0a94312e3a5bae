import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Engine, GoodpartsError, type DetectorInfo, type FitSettings, type ScoreResult } from '../../lib/engine';
import type { EnsembleInfo, Polygon } from '../../lib/engine/types';
import { planFit } from '../../lib/host';
import { part, parts, scratch, shared } from '../support';
import { residualNet, transformer, written } from './networks';

const SMALL: FitSettings = { inputWidth: 64, inputHeight: 64, coresetRatio: 0.1 };

const floats = ({ map }: ScoreResult): Float32Array =>
  new Float32Array(map!.data.buffer, map!.data.byteOffset, map!.data.byteLength / 4);
const median = (ascending: number[]): number => {
  const half = (ascending.length - 1) / 2;
  return (ascending[Math.floor(half)] + ascending[Math.ceil(half)]) / 2;
};

const deviation = (values: number[]): number => {
  const mean = values.reduce((a, b) => a + b) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
};

describe('two backbones', () => {
  const store = scratch();
  const engine = new Engine({ store, device: 'cpu' });
  const other = written(residualNet().model);
  after(() => engine.close());

  async function score(name: string, image: Buffer, from = engine): Promise<ScoreResult> {
    const [result] = await from.score(name, [image]);
    assert.ok(!(result instanceof GoodpartsError), String(result));
    return result;
  }
  const infoOf = async (name: string): Promise<DetectorInfo> =>
    (await engine.list()).find(info => info.name === name && info.current)!;

  /** What two detectors with one backbone each have to say together, where the second one counts `weight`. */
  async function expected(names: [string, string], weight: number, image: Buffer) {
    const seen = await Promise.all(
      names.map(async name => ({ ...(await infoOf(name)).calibration, result: await score(name, image) }))
    );
    const together = (of: (one: (typeof seen)[number]) => number, good: 'scores' | 'mapMaxima') => {
      const [u, v] = seen.map(one => median(one[good]) / Math.max(deviation(one[good]), 0.05 * median(one[good])));
      const [a, b] = seen.map(one => of(one) / median(one[good]));
      return (u * a + weight * v * b) / (u + weight * v);
    };
    return {
      score: together(one => one.result.score, 'scores'),
      map: floats(seen[0].result).map((_, i) => together(one => floats(one.result)[i], 'mapMaxima'))
    };
  }

  function equal(result: ScoreResult, wanted: { score: number; map: Float32Array }): void {
    assert.ok(Math.abs(result.score / wanted.score - 1) < 1e-3, `${result.score} instead of ${wanted.score}`);
    floats(result).forEach((value, i) => {
      const same = Number.isNaN(wanted.map[i])
        ? Number.isNaN(value)
        : Math.abs(value - wanted.map[i]) < 1e-3 * (1 + wanted.map[i]);
      assert.ok(same, `pixel ${i}: ${value} instead of ${wanted.map[i]}`);
    });
  }

  const triangle: Polygon = [
    [0.1, 0.1],
    [0.9, 0.15],
    [0.55, 0.9]
  ];
  const cases: [string, FitSettings, number][] = [
    ['whole pictures', {}, 1],
    ['a region, and another weight', { region: { include: [triangle], exclude: [] }, secondWeight: 3 }, 3],
    ['tiles', { tile: 64 }, 1]
  ];
  for (const [what, settings, weight] of cases)
    it(`score and map are the mean of what each says, relative to good parts: ${what}`, async () => {
      const good = await parts(5);
      const fit = (name: string, more: FitSettings) => engine.fit(name, good, { ...SMALL, ...settings, ...more });
      const fitted = await fit('both', { secondBackbone: other });
      const [first, second] = [await fit('first', {}), await fit('second', { backbone: other })];
      const { members, ...info } = (await infoOf('both')) as EnsembleInfo;
      assert.deepEqual([info.kind, info.bankSize, fitted.bankSize], ['ensemble', ...twice(sizeOf(first, second))]);
      assert.equal(fitted.patches, first.patches + second.patches);
      assert.notEqual(members[0].backboneSha256, members[1].backboneSha256);
      const bad = await part({ seed: 90, defect: true });
      const both = await score('both', bad);
      equal(both, await expected(['first', 'second'], weight, bad));
      const { scores, mapMaxima } = fitted.calibration;
      assert.equal(scores.length, 5);
      // of good parts, half score more than 1 and half less with each backbone by itself
      assert.ok(median(scores) > 0.8 && median(scores) < 1.25, String(scores));
      assert.ok(both.score > scores.at(-1)!, 'a damaged part is beyond all good ones');
      assert.ok(both.regions.length > 0 && both.map!.threshold >= mapMaxima[0]);
      const fine = await score('both', await part({ seed: 91 }));
      assert.ok(fine.score < both.score / 1.3, `${fine.score} and ${both.score}`);
    });

  it('several pictures at a time score as one by one, and by the nearest detector', async () => {
    await engine.fit('both', await parts(4), { ...SMALL, secondBackbone: other });
    const images = [await part({ seed: 90, defect: true }), await part({ seed: 91 })];
    const together = (await engine.score('both', images)) as ScoreResult[];
    for (const [i, image] of images.entries())
      assert.ok(Math.abs(together[i].score / (await score('both', image)).score - 1) < 1e-4);
    await engine.delete('first');
    await engine.delete('second');
    const nearest = await score('*', images[1]);
    assert.equal(nearest.product?.name, 'both');
  });

  it('a single picture, aligned parts and copies work as with one backbone', async () => {
    const settings = { ...SMALL, secondBackbone: other, augment: 'flips' as const, align: 'turn' as const };
    const { calibration } = await engine.fit('single', await parts(1), settings);
    assert.equal(calibration.method, 'perturbed');
    const { alignment } = await score('single', await part({ seed: 5 }));
    assert.ok(alignment!.match > 0.5);
  });

  it('a transformer and a convolutional network look at pictures of one size', async () => {
    const vit = written(transformer().model);
    await assert.rejects(
      engine.startFit('vit', { ...SMALL, secondBackbone: vit }),
      /takes 64 x 64 pixels and .* 56 x 56\. Set the input size to 56 x 56/
    );
    await engine.fit('vit', await parts(4), { ...SMALL, inputWidth: 56, inputHeight: 56, secondBackbone: vit });
    const [bad, fine] = [await part({ seed: 90, defect: true }), await part({ seed: 91 })];
    assert.ok((await score('vit', bad)).score > 1.2 * (await score('vit', fine)).score);
  });

  it('checks both banks, both backbones and both self-tests', async () => {
    await engine.fit('checked', await parts(3), { ...SMALL, secondBackbone: other });
    const folder = path.join(store, 'checked', 'v1');
    // another engine each time: a backbone that is loaded is not read again
    const fails = async (code: string) => {
      const fresh = new Engine({ store, device: 'cpu' });
      await assert.rejects(fresh.load('checked'), (error: GoodpartsError) => {
        assert.equal(error.code, code, error.message);
        return true;
      });
      await fresh.close();
    };
    const kept = fs.readFileSync(other);
    fs.rmSync(other);
    await fails('backbone-missing');
    fs.copyFileSync(written(residualNet(64, 64).model), other);
    await fails('detector-backbone');
    fs.writeFileSync(other, kept);
    for (const file of ['second-bank.npy', 'second-selftest-map.npy', 'bank.npy']) {
      const bytes = fs.readFileSync(path.join(folder, file));
      fs.appendFileSync(path.join(folder, file), 'x');
      await fails('detector-damaged');
      fs.writeFileSync(path.join(folder, file), bytes);
    }
    const fresh = new Engine({ store, device: 'cpu' });
    await fresh.load('checked');
    await fresh.close();
  });

  it('is planned, and refused for want of memory, as the sum of both', async () => {
    const request = { images: 50, picture: { width: 96, height: 96 } };
    const plan = (more: FitSettings) => engine.plan({ ...SMALL, ...more }, request);
    const [first, second, both] = [
      await plan({}),
      await plan({ backbone: other }),
      await plan({ secondBackbone: other })
    ];
    for (const key of ['patches', 'bankSize', 'diskMb'] as const)
      assert.ok(Math.abs(both[key] - first[key] - second[key]) < 1e-6, `${key}: ${both[key]}`);
    const { images, coreset, calibration, save, total } = both.fitSeconds;
    assert.ok(Math.abs(images + coreset + calibration + save - total) < 1e-6);
    // in a process each, as the editor plans, and of so many that what a fit holds counts for more than how processes differ
    const options = { engine: { store, device: 'cpu' as const }, timeout: 60_000, log: () => {} };
    const peakOf = async (more: FitSettings): Promise<number> =>
      (await planFit(options, { ...SMALL, ...more }, { ...request, images: 4000 })).peakMemoryMb;
    const peaks = [await peakOf({}), await peakOf({ backbone: other })];
    const peak = await peakOf({ secondBackbone: other });
    assert.ok(peak > Math.max(...peaks) && peak < peaks[0] + peaks[1], `${peak} MB, not ${peaks.join(' and ')}`);
    const needs = async (settings: FitSettings): Promise<number> => {
      const small = new Engine({ store, device: 'cpu', maxMemory: 8 });
      const error = await small.startFit('no', { ...SMALL, ...settings }, { images: 50_000 }).then(
        () => assert.fail('it was not refused'),
        (e: GoodpartsError) => e
      );
      await small.close();
      assert.equal(error.code, 'fit-memory');
      return error.details.needed as number;
    };
    assert.ok((await needs({ secondBackbone: other })) > (await needs({})) + 10);
  }).timeout(180000);

  it('refuses what it does not go with', async () => {
    const startFit = (more: FitSettings) => engine.startFit('no', { ...SMALL, secondBackbone: other, ...more });
    for (const more of [{ precision: 'int8' as const }, { network: 'net.onnx' }, { method: 'efficientad' as const }])
      await assert.rejects(startFit(more), /second backbone goes neither/);
    await assert.rejects(startFit({ secondBackbone: 'embedded' }), /is the first one again/);
    await assert.rejects(startFit({ secondWeight: 0 }), /secondWeight must be a number above 0/);
    await assert.rejects(startFit({ secondBackbone: 'no-such' }), /There is no backbone "no-such"/);
    await engine.fit('both', await parts(3), { ...SMALL, secondBackbone: other });
    const limit = { method: 'percentile' as const, value: 99 };
    await assert.rejects(engine.exportOnnx('both', limit), /has a second backbone/);
  });

  it('a real network beside the embedded one', async function () {
    const squeezenet = shared(this, 'weights', 'squeezenet11_full.onnx');
    await engine.fit('real', await parts(4), { ...SMALL, secondBackbone: squeezenet });
    const [bad, fine] = [await part({ seed: 90, defect: true }), await part({ seed: 91 })];
    assert.ok((await score('real', bad)).score > 1.3 * (await score('real', fine)).score);
  });
});

const sizeOf = (...fits: { bankSize: number }[]): number => fits.reduce((sum, { bankSize }) => sum + bankSize, 0);
const twice = <T>(value: T): [T, T] => [value, value];
