import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Engine, GoodpartsError, Resources, type FitPlan, type FitSession, type FitSettings } from '../../lib/engine';
import { refusalOf, type FitBound } from '../../lib/engine/memory';
import { fitFiles } from '../../lib/pictures';
import { parts, put, scratch, SMALL } from '../support';

const refused = (error: unknown) => {
  assert.ok(error instanceof GoodpartsError && error.code === 'fit-memory', String(error));
  return true;
};

/** MB that the fit needs, and the settings that would fit, as a refusal says. */
async function refusal(promise: Promise<unknown>) {
  const error = await promise.then(
    () => assert.fail('it was not refused'),
    (e: GoodpartsError) => e
  );
  refused(error);
  return error;
}

describe('plan', () => {
  let engine: Engine;
  const store = scratch();
  before(() => (engine = new Engine({ store, device: 'cpu' })));
  after(() => engine.close());

  const planned = (images: number, settings: FitSettings = {}): Promise<FitPlan> =>
    engine.plan({ ...SMALL, ...settings }, { images, picture: { width: 96, height: 96 } });

  it('predicts what grows with the images, and saves nothing', async () => {
    const [few, many] = [await planned(10), await planned(2000)];
    for (const plan of [few, many]) {
      const { images, coreset, calibration, save, total } = plan.fitSeconds;
      for (const value of [images, coreset, calibration, save, plan.scoreMs, plan.diskMb]) assert.ok(value > 0);
      assert.ok(Math.abs(images + coreset + calibration + save - total) < 1e-6);
      assert.equal(plan.bankSize, Math.floor(plan.patches / 10));
      assert.equal(plan.refusal, undefined);
    }
    assert.ok(many.fitSeconds.total > few.fitSeconds.total);
    assert.ok(many.diskMb > 100 * few.diskMb);
    assert.ok(many.detectorMb > few.detectorMb);
    assert.deepEqual(fs.readdirSync(store), []);
  });

  it('knows the size of the detector and of the bank before the fit', async () => {
    const pictures = await parts(6);
    const plan = await engine.plan({ ...SMALL, bankSize: 200, coresetRatio: 1 }, { images: 6, picture: pictures[0] });
    const fit = await engine.fit('size', pictures, { ...SMALL, bankSize: 200, coresetRatio: 1 });
    assert.deepEqual([plan.patches, plan.bankSize], [fit.patches, fit.bankSize]);
    const folder = path.join(store, 'size', fit.version);
    const bytes = fs.readdirSync(folder).reduce((sum, file) => sum + fs.statSync(path.join(folder, file)).size, 0);
    assert.ok(Math.abs((plan.detectorMb * 2 ** 20) / bytes - 1) < 0.02, `${plan.detectorMb * 2 ** 20} and ${bytes}`);
  });

  it('plans a bank of a single patch', async () => {
    const plan = await planned(1, { bankSize: 1 });
    assert.equal(plan.bankSize, 1);
    assert.ok(plan.fitSeconds.total > 0 && plan.scoreMs > 0);
  });

  it('says beforehand that a fit would be refused', async () => {
    const small = new Engine({ store, device: 'cpu', maxMemory: 8 });
    const plan = await small.plan(SMALL, { images: 5, picture: { width: 96, height: 96 } });
    assert.match(plan.refusal ?? '', /would need \d+ MB of memory, and 8 MB is the most.*smaller input size/);
    await small.close();
  });
});

describe('memory of a fit', () => {
  const size: FitBound = {
    patchesPerImage: 1024,
    dimensions: 384,
    bankSize: 10_000,
    coresetRatio: 0.1,
    memoryLimit: 256,
    base: 200 * 2 ** 20
  };

  it('names the largest setting that fits', () => {
    assert.equal(refusalOf(size, 4000), undefined);
    for (const [room, keys] of [
      [500, ['memoryLimit']],
      [315, ['memoryLimit', 'bankSize']]
    ] as const) {
      const { details, message } = refusalOf(size, room)!;
      const { needed, room: told, ...fitting } = details;
      assert.deepEqual(Object.keys(fitting), keys);
      assert.ok(Number(needed) > room && told === room);
      for (const [key, value] of Object.entries(fitting)) assert.ok(message.includes(`${key} to ${value}`), message);
      assert.equal(refusalOf({ ...size, ...fitting }, room), undefined, 'what it names fits');
      const last = keys.at(-1)!;
      const more = { ...size, ...fitting, [last]: Number(fitting[last]) + 20 };
      assert.ok(refusalOf(more, room), 'and hardly more would');
    }
    assert.match(refusalOf(size, 100)!.message, /free \d+ MB, or take a smaller input size or backbone\.$/);
  });

  it('is checked before a fit starts, and what the refusal names then works', async () => {
    const store = scratch();
    // what the process of the tests has is part of the account
    const settings = { ...SMALL, bankSize: 2_000_000, coresetRatio: 1, memoryLimit: 4096 };
    const room = Math.ceil(process.memoryUsage().rss / 2 ** 20) + 700;
    const engine = new Engine({ store, device: 'cpu', maxMemory: room });
    try {
      const { message, details } = await refusal(engine.startFit('part', settings));
      assert.match(
        message,
        /^This fit would need up to \d+ MB of memory, and \d+ MB is the most that it may take: set /
      );
      assert.deepEqual(fs.readdirSync(store), []);
      const fitting = {
        memoryLimit: Number(details.memoryLimit),
        ...(details.bankSize && { bankSize: Number(details.bankSize) })
      };
      assert.ok(fitting.memoryLimit < 4096);
      // the process may have grown by a little in between
      const roomy = new Engine({ store, device: 'cpu', maxMemory: room + 100 });
      const result = await roomy.fit('part', await parts(3), { ...settings, ...fitting });
      assert.equal(result.version, 'v1');
      await roomy.close();
      // so few pictures need little, where their number is known
      const files = (await parts(3)).map((bytes, i) => {
        const file = path.join(scratch(), `${i}.png`);
        put(file, bytes);
        return file;
      });
      assert.equal((await fitFiles(engine, 'files', files, settings)).images, 3);
    } finally {
      await engine.close();
    }
  });

  it('ends the learning, not the process, where the bank grows with the images', async () => {
    const store = scratch();
    const pictures = await parts(2);
    const settings = { ...SMALL, coresetRatio: 1, augment: 'rotations' as const };
    const resources = new Resources({ device: 'cpu' });
    const start = (maxMemory: number) =>
      new Engine({ store, device: 'cpu', maxMemory }, resources).startFit('part', settings);
    const { details } = await refusal(start(1));
    // some MB more than the first picture needs; the process of the tests may grow by itself
    let learned: FitSession | undefined;
    for (let more = 10; !learned; more *= 2)
      learned = await start(Number(details.needed) + more).catch((e: unknown) => void refused(e));
    let error: GoodpartsError | undefined;
    for (let i = 0; i < 100 && !error; i++)
      await learned.add(pictures[i % 2]).catch((e: GoodpartsError) => (error = e));
    refused(error);
    assert.match(
      error!.message,
      /^With one more picture than \d+ this fit would need .* or complete it with the pictures/
    );
    assert.equal((await learned.finish()).images, learned.images, 'what it has can be used');
    await resources.close();
  });
});
