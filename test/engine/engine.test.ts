import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Engine, GoodpartsError, percentile, ScoreResult, type PatchCoreInfo } from '../../lib/engine';
import { decodeNpy } from '../../lib/engine/npy';
import { Runtime, Session } from '../../lib/engine/runtime';
import { part, parts, scratch, shared, SMALL } from '../support';

const scored = (entry: ScoreResult | GoodpartsError): ScoreResult => {
  if (entry instanceof GoodpartsError) throw entry;
  return entry;
};

const code = (expected: string) => (error: unknown) => {
  assert.ok(error instanceof GoodpartsError, String(error));
  assert.equal(error.code, expected);
  return true;
};

describe('engine', () => {
  it('learns good parts and tells a defect by score and place', async () => {
    const engine = new Engine({ store: scratch() });
    const stages = new Set<string>();
    // 64 pixels are few for the usual blur
    const settings = { ...SMALL, smoothing: 1 };
    const result = await engine.fit('disc', await parts(24), settings, { onProgress: p => stages.add(p.stage) });
    assert.deepEqual([...stages], ['images', 'coreset', 'calibration', 'save']);
    assert.equal(result.version, 'v1');
    assert.equal(result.bankSize, Math.floor(24 * 64 * 0.1));
    assert.equal(result.calibration.scores.length, 24);
    const [good, bad] = (
      await engine.score('disc', [await part({ seed: 7 }), await part({ seed: 7, defect: true })])
    ).map(scored);
    const highest = result.calibration.scores.at(-1)!;
    assert.ok(good.score < highest * 1.25, `${good.score} of a good part, ${highest} in training`);
    assert.ok(bad.score > highest * 1.2, `${bad.score} of a bad part, ${highest} in training`);
    assert.ok(good.damage < bad.damage / 3, `${good.damage} of a good part, ${bad.damage} of a bad one`);
    const { map } = bad;
    assert.deepEqual([map!.width, map!.height, map!.data.length], [96, 96, 96 * 96 * 4]);
    const values = new Float32Array(map!.data.buffer, map!.data.byteOffset, 96 * 96);
    const top = values.indexOf(Math.max(...values));
    const [x, y] = [top % 96, Math.floor(top / 96)];
    // the dark square is at 38..60, 19..40; a patch is 12 of its pixels
    assert.ok(x > 30 && x < 68 && y > 11 && y < 48, `the highest value is at ${x}, ${y}`);
    const [region] = bad.regions;
    assert.ok(region.x <= x && x < region.x + region.width && region.y <= y && y < region.y + region.height);
    assert.equal(region.score, values[top]);
    await engine.close();
  });

  it('gives the same bank, bit for bit, for the same images and seed, and another for another seed', async () => {
    const store = scratch();
    const engine = new Engine({ store });
    const images = await parts(6);
    for (const seed of [3, 3, 4]) await engine.fit('same', images, { ...SMALL, seed });
    const bank = (version: string) => fs.readFileSync(path.join(store, 'same', version, 'bank.npy'));
    assert.ok(bank('v1').equals(bank('v2')));
    assert.ok(!bank('v1').equals(bank('v3')));
    const { data, shape } = decodeNpy(bank('v1'));
    assert.deepEqual(shape, [38, 384]);
    assert.equal(data.length, 38 * 384);
  });

  it('scores a training image without its own patches', async () => {
    const engine = new Engine({ store: scratch() });
    const images = [...(await parts(5)), await part({ defect: true, seed: 42 })];
    const { calibration } = await engine.fit('outlier', images, { ...SMALL, coresetRatio: 1 });
    const [own] = (await engine.score('outlier', [images[5]])).map(scored);
    // with the whole bank the odd one finds itself; in the calibration it stands out
    assert.ok(own.score < 1e-3, `${own.score}`);
    assert.ok(calibration.scores[5] > 2 * calibration.scores[4], calibration.scores.join());
  });

  it('calibrates on what new good parts will score: neither near zero nor too strict', async () => {
    const engine = new Engine({ store: scratch() });
    const fresh = await Promise.all(Array.from({ length: 24 }, (_, i) => part({ seed: 900 + i })));
    const { calibration } = await engine.fit('even', await parts(24), SMALL);
    const scores = (await engine.score('even', fresh)).map(entry => scored(entry).score).sort((a, b) => a - b);
    const ratio = percentile(calibration.scores, 50) / percentile(scores, 50);
    assert.ok(ratio > 0.9 && ratio < 1.1, `median ${ratio} times that of new parts`);
  });

  it('fits from one image and calibrates on perturbed copies', async () => {
    const engine = new Engine({ store: scratch() });
    const { calibration, images } = await engine.fit('one', [await part()], SMALL);
    assert.equal(images, 1);
    assert.equal(calibration.method, 'perturbed');
    assert.ok(calibration.scores.length > 5 && calibration.scores[0] > 0);
    const [bad] = (await engine.score('one', [await part({ defect: true })])).map(scored);
    assert.ok(bad.score > calibration.scores.at(-1)!);
  });

  it('refuses a fit without images and an invalid setting, and survives a bad image', async () => {
    const engine = new Engine({ store: scratch() });
    await assert.rejects(engine.fit('none', [], SMALL), code('fit-no-images'));
    await assert.rejects(engine.fit('none', [], { coresetRatio: 2 }), code('fit-settings'));
    await assert.rejects(engine.fit('../evil', [], SMALL), code('name-invalid'));
    await assert.rejects(engine.fit('none', [], { backbone: 'missing.onnx' }), code('backbone-missing'));
    const session = await engine.startFit('some', SMALL);
    await session.add(await part());
    await assert.rejects(session.add(Buffer.from('not an image')), code('image-format'));
    await session.add(await part({ size: 64, seed: 9 }));
    assert.equal((await session.finish()).images, 2);
    await assert.rejects(session.add(await part()), code('fit-aborted'));
    await assert.rejects(engine.score('unknown', [await part()]), code('detector-unknown'));
  });

  it('stops a fit when asked and leaves no version behind', async () => {
    const engine = new Engine({ store: scratch() });
    const stop = new AbortController();
    const fit = engine.fit('stopped', await parts(8), SMALL, {
      signal: stop.signal,
      onProgress: p => p.stage === 'calibration' && stop.abort()
    });
    await assert.rejects(fit, code('fit-aborted'));
    assert.deepEqual(await engine.list(), []);
  });

  it('answers a bad image in a batch with its own error', async () => {
    const engine = new Engine({ store: scratch() });
    await engine.fit('disc', await parts(3), SMALL);
    const [a, b, c] = await engine.score('disc', [await part(), Buffer.alloc(0), await part({ seed: 2 })]);
    assert.ok(!(a instanceof GoodpartsError) && !(c instanceof GoodpartsError));
    assert.ok(b instanceof GoodpartsError && b.code === 'image-empty');
    // alone or in a batch: the same number
    assert.ok(Math.abs(scored((await engine.score('disc', [await part()]))[0]).score - scored(a).score) < 1e-6);
  });

  it('takes a non-square input, both presets and a bound on the bank', async () => {
    const engine = new Engine({ store: scratch() });
    const images = await parts(3);
    for (const settings of [
      { inputWidth: 96, inputHeight: 64 },
      { preset: 'pci' as const, inputWidth: 64, inputHeight: 64, resizeShorter: 72 }
    ]) {
      const fitted = await engine.fit('shape', images, { ...settings, bankSize: 10 });
      assert.equal(fitted.bankSize, 10);
      const [{ map, image }] = (await engine.score('shape', [await part({ size: 120 })])).map(scored);
      assert.deepEqual([map!.width, map!.height, image.width], [120, 120, 120]);
    }
  });

  it('scores by the plain distance where there is only one neighbour to weigh with', async () => {
    const engine = new Engine({ store: scratch() });
    const images = await parts(3);
    const score = async (name: string) => scored((await engine.score(name, [await part({ defect: true })]))[0]).score;
    for (const [name, settings] of Object.entries({
      k1: { neighbours: 1 },
      one: { bankSize: 1 },
      two: { bankSize: 2 }
    })) {
      const { calibration } = await engine.fit(name, images, { ...SMALL, ...settings });
      assert.ok(
        calibration.scores.every(s => s > 0),
        `${name}: ${calibration.scores}`
      );
      assert.ok((await score(name)) > 0, name);
    }
    await engine.fit('plain', images, { ...SMALL, reweight: false });
    assert.ok(Math.abs((await score('k1')) - (await score('plain'))) < 1e-6);
  });

  it('keeps one version of a detector loaded, however often it is fitted anew', async () => {
    const engine = new Engine({ store: scratch(), keepVersions: 2 });
    const images = await parts(3);
    const open = countSessions();
    const after: number[] = [];
    try {
      for (let i = 0; i < 4; i++) {
        await engine.fit('daily', images, SMALL);
        await engine.score('daily', [images[0]]);
        after.push(open.count());
      }
    } finally {
      open.end();
    }
    // what is loaded is in ONNX Runtime's memory, which only a released session gives back
    assert.ok(after[0] > 0);
    assert.deepEqual(after.slice(1), [after[1], after[1], after[1]]);
  });

  it('marks what lies beside a centre crop as not inspected, and leaves it out of the damage', async () => {
    const engine = new Engine({ store: scratch() });
    const settings = { preset: 'pci' as const, inputWidth: 64, inputHeight: 64, resizeShorter: 72 };
    await engine.fit('crop', await parts(4, { size: 144 }), settings);
    const [{ map, damage }] = (await engine.score('crop', [await part({ size: 144, defect: true })])).map(scored);
    const values = new Float32Array(map!.data.buffer, map!.data.byteOffset, 144 * 144);
    // the crop takes 64 of 72 pixels, 128 of 144 of the original, from the middle
    assert.ok(Number.isNaN(values[7 * 144 + 70]) && !Number.isNaN(values[8 * 144 + 70]));
    assert.ok(Number.isNaN(values[70 * 144 + 136]) && !Number.isNaN(values[70 * 144 + 135]));
    assert.equal(values.filter(v => !Number.isNaN(v)).length, 128 * 128);
    const above = values.filter(v => v > map!.threshold).length;
    assert.ok(above > 0 && Math.abs(damage - above / (128 * 128)) < 1e-9);
  });

  it('finds the layers of a whole classifier by its structure', async function () {
    const backbone = shared(this, 'weights', 'squeezenet11_full.onnx');
    const engine = new Engine({ store: scratch() });
    const fitted = await engine.fit('squeeze', await parts(4), { ...SMALL, backbone });
    const [info] = await engine.list();
    assert.equal((info as PatchCoreInfo).dimensions, 256 + 512);
    const [bad] = (await engine.score('squeeze', [await part({ defect: true })])).map(scored);
    assert.ok(bad.score > fitted.calibration.scores.at(-1)!);
  });
});

/** How many sessions of ONNX Runtime are made and not released, from now on. */
function countSessions(): { count(): number; end(): void } {
  const { session } = Runtime.prototype;
  const { release } = Session.prototype;
  let count = 0;
  Runtime.prototype.session = function (model) {
    count++;
    return session.call(this, model);
  };
  Session.prototype.release = function () {
    count--;
    return release.call(this);
  };
  const end = (): void => {
    Runtime.prototype.session = session;
    Session.prototype.release = release;
  };
  return { count: () => count, end };
}
