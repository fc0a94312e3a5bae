import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { GoodpartsError } from '../../lib/engine/errors';
import { defectKinds, writeSample } from '../../lib/sample';
import { shoot } from '../../lib/sample/render';

const SIZE = 160;

async function fingerprint(folder: string): Promise<string> {
  const hash = createHash('sha256');
  const files = (await readdir(folder, { recursive: true })).filter(name => path.extname(name));
  for (const file of files.sort()) hash.update(file).update(await readFile(path.join(folder, file)));
  return hash.digest('hex');
}

describe('sample parts', () => {
  let folder: string;
  before(async () => (folder = await mkdtemp(path.join(os.tmpdir(), 'goodparts-sample-'))));
  after(() => rm(folder, { recursive: true, force: true }));

  it('writes MVTec layout, and reports every picture', async () => {
    const target = path.join(folder, 'parts');
    const steps: [number, number][] = [];
    const counts = await writeSample(target, {
      train: 3,
      test: 4,
      size: SIZE,
      onProgress: (done, total) => steps.push([done, total])
    });
    assert.deepEqual(counts, { train: 3, good: 4, defects: 12 });
    assert.deepEqual(steps.at(-1), [19, 19]);
    assert.equal(steps.length, 19);
    assert.deepEqual(await readdir(path.join(target, 'train')), ['good']);
    assert.deepEqual((await readdir(path.join(target, 'test'))).sort(), [...defectKinds, 'good'].sort());
    assert.deepEqual((await readdir(path.join(target, 'ground_truth'))).sort(), [...defectKinds].sort());
    for (const kind of defectKinds) {
      const stems = (await readdir(path.join(target, 'test', kind))).map(f => path.parse(f).name);
      const masks = await readdir(path.join(target, 'ground_truth', kind));
      assert.deepEqual(masks.sort(), stems.map(s => `${s}_mask.png`).sort());
      const picture = await sharp(path.join(target, 'test', kind, '000.png')).metadata();
      const mask = await sharp(path.join(target, 'ground_truth', kind, '000_mask.png')).metadata();
      assert.deepEqual([picture.width, picture.height, picture.channels], [SIZE, SIZE, 3]);
      assert.deepEqual([mask.width, mask.height, mask.channels], [SIZE, SIZE, 1]);
    }
    assert.deepEqual(await readdir(folder), ['parts'], 'nothing is left beside the sample');
  });

  it('gives the same bytes for the same seed and others for another, and replaces an earlier sample', async () => {
    const [a, b] = [path.join(folder, 'a'), path.join(folder, 'b')];
    await mkdir(b);
    await writeSample(a, { train: 2, test: 1, size: SIZE, seed: 7 });
    await writeSample(b, { train: 2, test: 1, size: SIZE, seed: 8 });
    assert.notEqual(await fingerprint(a), await fingerprint(b));
    await writeSample(b, { train: 2, test: 1, size: SIZE, seed: 7 });
    assert.equal(await fingerprint(a), await fingerprint(b));
  });

  it('draws good parts that differ from one another', async () => {
    const [a, b] = [await shoot(0, 'train/good/000', SIZE), await shoot(0, 'train/good/001', SIZE)];
    assert.equal(a.mask, undefined);
    assert.ok(!a.pixels.equals(b.pixels));
  });

  for (const kind of defectKinds)
    for (const severity of [0, 0.5, 1])
      it(`marks a ${kind} of severity ${severity} exactly`, async () => {
        for (const seed of [0, 1]) {
          const flawed = await shoot(seed, 'one part', SIZE, kind, severity);
          const clean = await shoot(seed, 'one part', SIZE);
          let [marked, changed, outside] = [0, 0, 0];
          flawed.mask!.forEach((on, i) => {
            const at = 3 * i;
            const differs = flawed.pixels.compare(clean.pixels, at, at + 3, at, at + 3) !== 0;
            if (on) marked++;
            if (on && differs) changed++;
            if (!on && differs) outside++;
          });
          assert.equal(outside, 0);
          assert.ok(flawed.mask!.every(value => value === 0 || value === 255));
          assert.ok(marked >= 8 && marked < (SIZE * SIZE) / 10, `seed ${seed}: ${marked} pixels marked`);
          assert.ok(changed > marked / 3, `seed ${seed}: only ${changed} of ${marked} marked pixels differ`);
        }
      });

  it('leaves a folder alone that holds something else', async () => {
    const mine = path.join(folder, 'mine');
    await mkdir(mine);
    await writeFile(path.join(mine, 'precious.txt'), 'keep');
    const refused = (e: unknown) =>
      e instanceof GoodpartsError && e.code === 'path-forbidden' && /not empty/.test(e.message);
    await assert.rejects(writeSample(mine, { train: 1, test: 1, size: SIZE }), refused);
    await assert.rejects(writeSample(path.join(mine, 'precious.txt'), { train: 1, test: 1, size: SIZE }), refused);
    assert.deepEqual(await readdir(mine), ['precious.txt']);
  });

  it('refuses numbers that make no sense', async () => {
    for (const options of [{ train: 0 }, { test: 1.5 }, { size: 10 }, { seed: -1 }])
      await assert.rejects(writeSample(path.join(folder, 'never'), options), RangeError);
  });
});
