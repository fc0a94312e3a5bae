import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Engine, GoodpartsError, type FitSettings, type ScoreResult } from '../../lib/engine';
import type { EnsembleInfo } from '../../lib/engine/types';
import { part, parts, scratch, shared } from '../support';
import { residualNet, written } from './networks';

const SMALL: FitSettings = { inputWidth: 64, inputHeight: 64, coresetRatio: 0.1 };

const floats = ({ map }: ScoreResult): Float32Array =>
  new Float32Array(map!.data.buffer, map!.data.byteOffset, map!.data.byteLength / 4);
const median = (ascending: number[]): number => ascending[ascending.length >> 1];

describe('two backbones', () => {
  const store = scratch();
  const engine = new Engine({ store, device: 'cpu' });
  let other: string;

  before(() => {
    other = written(residualNet().model);
  });
  after(() => engine.close());

  async function score(name: string, image: Buffer): Promise<ScoreResult> {
    const [result] = await engine.score(name, [image]);
    assert.ok(!(result instanceof GoodpartsError), String(result));
    return result;
  }

  it('score and map are the mean of what each says, relative to what good parts give it', async () => {
    const good = await parts(7);
    const fitted = await engine.fit('both', good, { ...SMALL, secondBackbone: other });
    await engine.fit('first', good, SMALL);
    await engine.fit('second', good, { ...SMALL, backbone: other });
    const list = await engine.list();
    const infoOf = (name: string) => list.find(info => info.name === name)!;
    const { members, ...info } = infoOf('both') as EnsembleInfo;
    assert.equal(info.kind, 'ensemble');
    assert.equal(info.bankSize, fitted.bankSize);
    assert.notEqual(members[0].backboneSha256, members[1].backboneSha256);
    // of good parts, half score more than 1 and half less, for each backbone by itself
    const bad = await part({ seed: 90, defect: true });
    const results = { first: await score('first', bad), second: await score('second', bad) };
    const both = await score('both', bad);
    const units = (['first', 'second'] as const).map(name => ({
      score: median(infoOf(name).calibration.scores),
      map: median(infoOf(name).calibration.mapMaxima)
    }));
    const expected = (results.first.score / units[0].score + results.second.score / units[1].score) / 2;
    assert.ok(Math.abs(both.score / expected - 1) < 1e-3, `${both.score} instead of ${expected}`);
    const [a, b, map] = [results.first, results.second, both].map(floats);
    map.forEach((value, i) => {
      const mean = (a[i] / units[0].map + b[i] / units[1].map) / 2;
      assert.ok(Math.abs(value - mean) < 1e-3 * (1 + mean), `pixel ${i}: ${value} instead of ${mean}`);
    });
    const { scores } = fitted.calibration;
    assert.equal(scores.length, 7);
    assert.ok(both.score > scores.at(-1)!, 'a damaged part is beyond all good ones');
    const fine = await score('both', await part({ seed: 91 }));
    assert.ok(fine.score < both.score / 1.3, `${fine.score} and ${both.score}`);
  });

  it('a single picture, aligned parts and copies work as with one backbone', async () => {
    const settings = { ...SMALL, secondBackbone: other, augment: 'flips' as const, align: 'turn' as const };
    const { calibration } = await engine.fit('single', await parts(1), settings);
    assert.equal(calibration.method, 'perturbed');
    const { alignment } = await score('single', await part({ seed: 5 }));
    assert.ok(alignment!.match > 0.5);
  });

  it('checks both banks, both backbones and both self-tests', async () => {
    await engine.fit('checked', await parts(3), { ...SMALL, secondBackbone: other });
    const damage = (file: string) => fs.appendFileSync(path.join(store, 'checked', 'v1', file), 'x');
    fs.renameSync(other, `${other}.away`);
    const fresh = new Engine({ store, device: 'cpu' });
    const fails = (code: string) =>
      assert.rejects(fresh.load('checked'), (error: GoodpartsError) => {
        assert.equal(error.code, code, error.message);
        return true;
      });
    await fails('backbone-missing');
    fs.copyFileSync(written(residualNet(64, 64).model), other);
    await fails('detector-backbone');
    fs.renameSync(`${other}.away`, other);
    await fresh.load('checked');
    await fresh.close();
    damage('second-bank.npy');
    await fails('detector-damaged');
    await fresh.close();
  });

  it('refuses what it does not go with', async () => {
    for (const more of [{ tile: 64 }, { precision: 'int8' as const }, { network: 'net.onnx' }])
      await assert.rejects(engine.startFit('no', { ...SMALL, ...more, secondBackbone: other }), /second backbone goes/);
    await assert.rejects(engine.plan({ secondBackbone: other }, { images: 3 }), /two backbones cannot be planned/);
    const odd = written(residualNet(96, 96).model);
    await assert.rejects(engine.startFit('no', { ...SMALL, secondBackbone: odd }), /set an input size that suits both/);
    const limit = { method: 'percentile' as const, value: 99 };
    await assert.rejects(engine.exportOnnx('both', limit), /has a second backbone/);
  });

  it('a real network beside the embedded one', async function () {
    this.timeout(120_000);
    const squeezenet = shared(this, 'weights', 'squeezenet11_full.onnx');
    await engine.fit('real', await parts(4), { ...SMALL, secondBackbone: squeezenet });
    const [bad, fine] = [await part({ seed: 90, defect: true }), await part({ seed: 91 })];
    assert.ok((await score('real', bad)).score > 1.3 * (await score('real', fine)).score);
  });
});
