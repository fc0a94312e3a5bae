import assert from 'node:assert/strict';
import sharp from 'sharp';
import { Engine, GoodpartsError, type RawImage, type ScoreResult } from '../../lib/engine';
import { MapHead, mapSize } from '../../lib/engine/head';
import { PatchPool } from '../../lib/engine/pool';
import { completeSettings } from '../../lib/engine/presets';
import { randomStream } from '../../lib/engine/random';
import { Runtime } from '../../lib/engine/runtime';
import { bandsOf, tileCount, tilesOf, tilingOf } from '../../lib/engine/tiles';
import { parts, scratch, SMALL } from '../support';

const settings = completeSettings({ ...SMALL, tile: 64, smoothing: 1 });
const empty = (width: number, height: number) => ({ data: new Uint8Array(width * height * 3), width, height });

const scored = (entry: ScoreResult | GoodpartsError): ScoreResult => {
  if (entry instanceof GoodpartsError) throw entry;
  return entry;
};

/** A woven cloth of any size, and a dark spot where its middle is given. */
function cloth(seed: number, width: number, height: number, spot?: { x: number; y: number }): RawImage {
  const random = randomStream(seed);
  const data = new Uint8Array(width * height * 3);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i += 3) {
      const dark = spot && Math.hypot(x - spot.x, y - spot.y) < 7;
      data.fill(dark ? 20 : 130 + 40 * Math.sin(x / 3) * Math.cos(y / 3) + 8 * random(), i, i + 3);
    }
  return { data, width, height, channels: 3 };
}

function mapOf({ map }: ScoreResult): { at(x: number, y: number): number; width: number; height: number } {
  const { data, width, height } = map!;
  return { width, height, at: (x, y) => data.readFloatLE(4 * (y * width + x)) };
}

describe('tiles', () => {
  it('cover a picture of any size, evenly, and share what was asked for', () => {
    for (const size of [10, 63, 64, 65, 100, 112, 113, 500, 20_000])
      for (const tileOverlap of [0.1, 0.25, 0.5, 0.75]) {
        const { columns, rows, width, height } = tilingOf({ width: size, height: 30 }, { ...settings, tileOverlap })!;
        assert.deepEqual([rows, width, height], [[0], 64, 64]);
        assert.equal(columns[0], 0);
        if (size > 64) assert.equal(columns.at(-1)! + 64, size);
        columns.slice(1).forEach((x, i) => assert.ok(columns[i] + 64 - x >= Math.floor(64 * tileOverlap) - 1));
        assert.ok(columns.length <= Math.max(1, Math.ceil((size - 64) / (64 * (1 - tileOverlap))) + 1));
      }
    const wide = completeSettings({ inputWidth: 64, inputHeight: 32, tile: 100 });
    assert.equal(tilingOf({ width: 100, height: 100 }, wide)!.height, 50);
    assert.equal(tileCount({ width: 5000, height: 5000 }, completeSettings()), 1);
  });

  it('are the pixels of the picture, mirrored where they reach beyond it', () => {
    const { data, width, height } = cloth(1, 100, 40);
    const tiles = [...tilesOf({ data, width, height }, settings)];
    assert.equal(tiles.length, 2);
    const pixel = (x: number, y: number) => [...data.subarray(3 * (y * 100 + x), 3 * (y * 100 + x) + 3)];
    for (const [x, y, from] of [
      [0, 0, [36, 0]],
      [63, 39, [99, 39]],
      [10, 40, [46, 39]],
      [10, 63, [46, 16]]
    ] as const) {
      const i = 3 * (y * 64 + x);
      assert.deepEqual([...tiles[1].data.subarray(i, i + 3)], pixel(from[0], from[1]));
    }
    const [speck] = tilesOf({ data: Uint8Array.of(1, 2, 3), width: 1, height: 1 }, settings);
    assert.deepEqual([speck.data.length, ...speck.data.subarray(-3)], [64 * 64 * 3, 1, 2, 3]);
  });

  it('weigh 1 together in every pixel of the map, at any scale', () => {
    for (const [size, pixels, overlap] of [
      [500, 500, 0.25],
      [500, 333, 0.25],
      [20_000, 12_500, 0.5],
      [30, 30, 0.25],
      [777, 1000, 0.75]
    ]) {
      const { columns } = tilingOf({ width: size, height: 1 }, { ...settings, tileOverlap: overlap })!;
      const sum = new Float64Array(pixels);
      for (const { from, weights } of bandsOf(columns, 64, size, pixels, 64))
        weights.forEach((w, i) => (sum[from + i] += w));
      sum.forEach((s, i) => assert.ok(Math.abs(s - 1) < 1e-5, `${s} at ${i} of ${pixels}`));
    }
  });

  it('make one map without seams', async () => {
    const map = await MapHead.create(await Runtime.create('cpu'));
    const picture = { width: 200, height: 150 };
    const { columns, rows } = tilingOf(picture, settings)!;
    const [across, down] = [bandsOf(columns, 64, 200, 200, 64), bandsOf(rows, 64, 150, 150, 64)];
    const joined = async (value: (row: number, column: number) => number) => {
      const whole = { ...picture, data: new Float32Array(200 * 150) };
      for (const [r, y] of down.entries())
        for (const [c, x] of across.entries())
          await map.addTile(whole, new Float32Array(64).fill(value(r, c)), { rows: 8, columns: 8 }, settings, y, x);
      return whole.data;
    };
    (await joined(() => 2)).forEach(v => assert.ok(Math.abs(v - 2) < 1e-4));
    // tiles that disagree by 1 pass into each other over the 18 pixels that they share
    const steps = await joined((r, c) => (r + c) % 2);
    for (let i = 0; i < steps.length; i++) {
      if ((i + 1) % 200) assert.ok(Math.abs(steps[i] - steps[i + 1]) < 0.08);
      if (i + 200 < steps.length) assert.ok(Math.abs(steps[i] - steps[i + 200]) < 0.08);
    }
    assert.ok(steps.some(v => v > 0.99) && steps.some(v => v < 0.01));
    await map.release();
  });

  it('bound the map of a huge picture', () => {
    assert.deepEqual(mapSize({ width: 20_000, height: 512 }, { inputWidth: 1e5, inputHeight: 1e4 }, false), {
      width: 12_500,
      height: 320
    });
  });

  it('find a spot at native resolution, wherever it lies', async () => {
    const engine = new Engine({ store: scratch() });
    // of different sizes, one smaller than a tile
    const sizes = [
      [200, 150],
      [230, 150],
      [40, 50],
      [200, 150]
    ];
    const good = sizes.map(([w, h], i) => cloth(i + 1, w, h));
    const { calibration, patches } = await engine.fit('cloth', good, { ...SMALL, smoothing: 1, tile: 64 });
    assert.equal(patches, (12 + 15 + 1 + 12) * 64);
    assert.equal(calibration.scores.length, 4);
    const scores: number[] = [];
    // tiles begin at 0, 45, 91 and 136 and end at 64, 109 and 155
    for (const x of [30, 45, 55, 64, 77, 91, 100]) {
      const [result] = (await engine.score('cloth', [cloth(9, 200, 150, { x, y: 60 })])).map(scored);
      scores.push(result.score);
      const map = mapOf(result);
      assert.deepEqual([map.width, map.height], [200, 150]);
      const [region] = result.regions;
      const [cx, cy] = [region.x + region.width / 2, region.y + region.height / 2];
      assert.ok(Math.hypot(cx - x, cy - 60) < 10, `found at ${cx}, ${cy} instead of ${x}, 60`);
    }
    assert.ok(
      Math.min(...scores) > 1.3 * calibration.scores.at(-1)!,
      `${scores.join()}, good ${calibration.scores.join()}`
    );
    assert.ok(Math.max(...scores) / Math.min(...scores) < 1.25, scores.join());
    // several in a call are the same as one by one, and each has its entry
    const pair = [cloth(9, 200, 150, { x: 30, y: 60 }), cloth(9, 30, 20)];
    const seen: number[] = [];
    const both = await engine.score('cloth', pair, { onEntry: e => seen.push(scored(e).score) });
    assert.deepEqual(
      both.map(e => scored(e).score),
      seen
    );
    assert.ok(Math.abs(seen[0] - scores[0]) < 1e-4 * scores[0]);
    assert.deepEqual([scored(both[1]).map!.width, scored(both[1]).map!.height], [30, 20]);
    // a very long one
    const [long] = (await engine.score('cloth', [cloth(10, 20_000, 64, { x: 15_000, y: 30 })])).map(scored);
    assert.equal(long.map!.width, 20_000);
    assert.ok(long.regions[0].x < 15_000 && long.regions[0].x + long.regions[0].width > 15_000);
    await engine.close();
  });

  it('leave a whole image out of the bank when it is calibrated, tiles, copies and all', async () => {
    const engine = new Engine({ store: scratch() });
    const plain = Array.from({ length: 4 }, (_, i) => cloth(i + 1, 100, 60));
    const options = { ...SMALL, tile: 64, coresetRatio: 1, augment: 'flips' as const };
    const odd = cloth(5, 100, 60, { x: 80, y: 30 });
    const { calibration } = await engine.fit('odd', [...plain, odd], options);
    assert.ok(calibration.scores[4] > 1.5 * calibration.scores[3], calibration.scores.join());
    await engine.close();
  });

  it('learn from a single picture, and in int8, and stop between tiles', async () => {
    const engine = new Engine({ store: scratch() });
    const int8 = await engine.fit('int8', await parts(2, { size: 100 }), { ...SMALL, tile: 64, precision: 'int8' });
    assert.equal(int8.patches, 2 * 4 * 64);
    const single = await engine.fit('single', [cloth(1, 130, 100)], { ...SMALL, tile: 64 });
    assert.equal(single.calibration.method, 'perturbed');
    assert.equal(single.calibration.scores.length, 12);
    const stop = new AbortController();
    const scoring = engine.score('single', [cloth(2, 5000, 100)], { signal: stop.signal });
    setTimeout(() => stop.abort(), 60);
    const [entry] = await scoring;
    assert.ok(entry instanceof GoodpartsError && entry.code === 'score-cancelled', String(entry));
    await engine.close();
  });

  it('keep the right patches for the calibration when the pool is reduced in the middle of an image', async () => {
    const [P, D] = [500, 6];
    const tile = (image: number, t: number): Float32Array => {
      const random = randomStream(100 * image + t);
      return Float32Array.from({ length: P * D }, () => random());
    };
    const options = { dimensions: D, patchesPerTile: P, bankSize: 50, memoryLimit: 1, seed: 1 };
    const pool = await PatchPool.create(await Runtime.create('cpu'), { folder: scratch(), ...options });
    const counts = Array.from({ length: 12 }, (_, i) => 3 + (i % 4));
    for (const [image, count] of counts.entries())
      for (let t = 0; t < count; t++) await pool.add(tile(image, t), t, count);
    assert.ok(pool.sample.moved);
    const tiles = pool.sample.tiles();
    assert.equal(
      tiles.length,
      counts.reduce((a, b) => a + b)
    );
    const next = counts.map(() => 0);
    for (const [i, { place }] of tiles.entries()) {
      const image = pool.sample.images[place];
      assert.deepEqual(await pool.sample.patches(i), tile(image, next[image]++));
    }
    assert.deepEqual(await pool.sample.gather([P + 3]), tile(0, 1).slice(3 * D, 4 * D));
    await pool.close();
  });

  it('are counted by the plan', async () => {
    const engine = new Engine({ store: scratch() });
    const plan = (tile: number) => engine.plan({ ...SMALL, tile }, { images: 3, picture: { width: 200, height: 150 } });
    const [whole, cut] = [await plan(0), await plan(64)];
    assert.deepEqual([whole.tiles, cut.tiles], [3, 3 * 12]);
    assert.deepEqual([whole.patches, cut.patches], [3 * 64, 3 * 12 * 64]);
    assert.ok(cut.fitSeconds.images > 2 * whole.fitSeconds.images);
    await engine.close();
  });

  it('do not go with a crop of the middle, which the preset pci then leaves out', () => {
    assert.equal(completeSettings({ preset: 'pci', tile: 224 }).resizeShorter, 0);
    assert.throws(() => completeSettings({ preset: 'pci', tile: 224, resizeShorter: 256 }), /do not go together/);
    for (const wrong of [{ tile: 10 }, { tile: 64.5 }, { tileOverlap: 0 }, { tileOverlap: 0.9 }])
      assert.throws(() => completeSettings(wrong), /The setting tile/);
  });

  it('read files as well as pixels', async () => {
    const { data, width, height } = cloth(3, 90, 70);
    const png = await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer();
    const engine = new Engine({ store: scratch() });
    await engine.fit('files', [png], { ...SMALL, tile: 64 });
    const results = await engine.score('files', [png, new Uint8Array([1, 2]), empty(5, 5) as never]);
    assert.deepEqual(
      results.map(r => (r instanceof GoodpartsError ? r.code : 'fine')),
      ['fine', 'image-format', 'image-raw']
    );
    await engine.close();
  });
});
