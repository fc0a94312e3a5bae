import assert from 'node:assert/strict';
import { execFileSync, fork } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { Engine, GoodpartsError } from '../../lib/engine';
import { fitMemory, PatchPool, poolSize } from '../../lib/engine/pool';
import { randomStream } from '../../lib/engine/random';
import { Runtime } from '../../lib/engine/runtime';
import { RowFile, WORK_PREFIX } from '../../lib/engine/workfile';
import { parts, scratch, SMALL } from '../support';

const code = (expected: string) => (error: unknown) =>
  error instanceof GoodpartsError && error.code === expected ? true : assert.fail(String(error));

const [PATCHES, DIMENSIONS] = [500, 6];

/** Patches of one image: a thick sheet in space, with some outliers. */
function image(seed: number): Float32Array {
  const random = randomStream(seed);
  return Float32Array.from({ length: PATCHES * DIMENSIONS }, (_, i) => random() * (i % DIMENSIONS < 3 ? 4 : 0.1));
}

/** Chooses 200 patches from images by a pool of so much memory, MB. */
async function chooseFrom(images: number, memoryLimit: number, folder = scratch()) {
  const runtime = await Runtime.create('cpu');
  const pool = await PatchPool.create(runtime, {
    folder,
    dimensions: DIMENSIONS,
    patchesPerTile: PATCHES,
    bankSize: 200,
    memoryLimit,
    seed: 1
  });
  try {
    for (let i = 0; i < images; i++) await pool.add(image(i));
    const bank = await pool.choose(200, 0, () => undefined);
    return { ...bank, sample: await pool.sample.patches(0), first: pool.sample.images[0] };
  } finally {
    await pool.close();
  }
}

function coveringRadius(images: number, bank: Float32Array): number {
  let radius = 0;
  for (let n = 0; n < images; n++) {
    const patches = image(n);
    for (let i = 0; i < patches.length; i += DIMENSIONS) {
      let nearest = Infinity;
      for (let b = 0; b < bank.length; b += DIMENSIONS) {
        let sum = 0;
        for (let d = 0; d < DIMENSIONS; d++) sum += (patches[i + d] - bank[b + d]) ** 2;
        nearest = Math.min(nearest, sum);
      }
      radius = Math.max(radius, nearest);
    }
  }
  return Math.sqrt(radius);
}

describe('patch pool', () => {
  it('covers nearly as well in bounded memory as with all patches at hand, and says how well', async () => {
    const images = 60;
    const limit = 1; // MB: 21845 patches of 6 numbers, of 30000
    const { most } = poolSize({ memoryLimit: limit, dimensions: DIMENSIONS, patchesPerTile: PATCHES, bankSize: 200 });
    assert.ok(most < 0.8 * images * PATCHES, `${most}`);
    const bounded = await chooseFrom(images, limit);
    const exact = await chooseFrom(images, 256);
    const [rough, best] = [coveringRadius(images, bounded.data), coveringRadius(images, exact.data)];
    assert.ok(rough < 1.2 * best, `${rough}, and ${best} with all patches at hand`);
    assert.ok(rough <= bounded.radius, `${rough}, promised was ${bounded.radius}`);
    // what was said of each patch holds: it is one of that image
    bounded.origin.forEach((from, i) => {
      const patches = image(from);
      const row = bounded.data.subarray(i * DIMENSIONS, (i + 1) * DIMENSIONS);
      const there = Array.from({ length: PATCHES }, (_, p) => p * DIMENSIONS).some(p =>
        row.every((x, d) => x === patches[p + d])
      );
      assert.ok(there, `bank patch ${i} is not of image ${from}`);
    });
    assert.deepEqual(bounded.sample, image(bounded.first));
  });

  it('chooses the same bank for the same seed in bounded memory', async () => {
    const [a, b] = [await chooseFrom(46, 1), await chooseFrom(46, 1)];
    assert.deepEqual(a.data, b.data);
  });

  it('predicts memory and disk that do not grow with the images beyond the limit', () => {
    const size = { patchesPerImage: 1024, dimensions: 384, bankSize: 10000 };
    const [few, many, any] = [100, 1000, undefined].map(images => fitMemory([{ ...size, images }]));
    assert.ok(few.memory < many.memory && few.disk < many.disk);
    assert.equal(many.memory, any.memory);
    assert.equal(many.disk, any.disk);
  });
});

describe('working file', () => {
  const left = (folder: string): string[] => fs.readdirSync(folder).filter(f => f.startsWith(WORK_PREFIX));
  const row = (...values: number[]): Float32Array => Float32Array.from(values);

  it('gives rows back, in any order, and keeps some', async () => {
    const folder = scratch();
    const file = await RowFile.create(folder, 2);
    await file.append(row(0, 1, 2, 3, 4, 5));
    await file.append(row(6, 7));
    assert.deepEqual(await file.read(1, 2), row(2, 3, 4, 5));
    assert.deepEqual(await file.gather([3, 0, 1]), row(6, 7, 0, 1, 2, 3));
    await file.keep(Int32Array.of(1, 3));
    assert.equal(file.count, 2);
    assert.deepEqual(await file.read(0, 2), row(2, 3, 6, 7));
    await file.close();
    await assert.rejects(file.append(row(1, 2)), code('fit-aborted'));
    assert.deepEqual(left(folder), []);
  });

  it('is gone after a fit that succeeded, failed or was aborted', async () => {
    const store = scratch();
    const engine = new Engine({ store });
    const images = await parts(3);
    await engine.fit('done', images, SMALL);
    assert.deepEqual(left(path.join(store, 'done')), []);
    await assert.rejects(engine.fit('failed', [...images, Buffer.from('no image')], SMALL), code('image-format'));
    assert.deepEqual(left(path.join(store, 'failed')), []);
    const session = await engine.startFit('aborted', SMALL);
    await session.add(images[0]);
    session.abort();
    assert.deepEqual(left(path.join(store, 'aborted')), []);
    await engine.close();
  });

  it('leaves nothing behind when the process is killed, and sweeps what an older one left', async () => {
    const folder = scratch();
    const child = fork(path.join(__dirname, 'workfile-writer.js'), [folder], { stdio: 'ignore' });
    await new Promise(resolve => child.once('message', resolve));
    const gone = new Promise(resolve => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    if (process.platform === 'linux') assert.deepEqual(left(folder), []);
    const [old, fresh] = ['old', 'fresh'].map(name => path.join(folder, WORK_PREFIX + name));
    fs.writeFileSync(old, '');
    fs.writeFileSync(fresh, '');
    fs.utimesSync(old, new Date(), new Date(Date.now() - 2 * 3600e3));
    await (await RowFile.create(folder, 2)).close();
    assert.ok(!fs.existsSync(old) && fs.existsSync(fresh));
  });

  it('says so when the disk is full, and leaves the room free', async function () {
    const store = scratch();
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', store], { stdio: 'ignore' });
    } catch {
      console.log('      skipped: a small disk cannot be mounted here');
      return this.skip();
    }
    try {
      const engine = new Engine({ store });
      const failed = engine.fit('full', await parts(8), SMALL);
      await assert.rejects(failed, (error: GoodpartsError) => {
        assert.equal(error.code, 'store-write');
        assert.match(error.message, /disk is full/);
        return true;
      });
      await engine.close();
      // the whole disk can be written again
      fs.writeFileSync(path.join(store, 'room'), Buffer.alloc(200 * 1024));
    } finally {
      execFileSync('umount', [store]);
    }
  });
});
