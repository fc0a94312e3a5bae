import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { Engine, GoodpartsError, type InspectedRegion, type Polygon, type ScoreResult } from '../../lib/engine';
import { decode } from '../../lib/engine/decode';
import { Extractor } from '../../lib/engine/features';
import { windowOf } from '../../lib/engine/graphs/preprocess';
import { createSearch } from '../../lib/engine/head';
import { decodeNpy } from '../../lib/engine/npy';
import { completeSettings } from '../../lib/engine/presets';
import { Inspection, inspectedRows } from '../../lib/engine/region';
import { Runtime } from '../../lib/engine/runtime';
import { part, parts, scratch, SMALL } from '../support';

const settings = { ...SMALL, smoothing: 1 };
/** The dark square of a damaged part is at 40 to 62 % of the width and 20 to 42 % of the height. */
const box = (left: number, top: number, right: number, bottom: number): Polygon => [
  [left, top],
  [right, top],
  [right, bottom],
  [left, bottom]
];
const TOP = box(0, 0, 1, 0.5);
const include = (...polygons: Polygon[]): InspectedRegion => ({ include: polygons, exclude: [] });

const inspectionOf = async (region: InspectedRegion): Promise<Inspection> => (await Inspection.create(region))!;
const whole = (count: number) => ({ count, from: 0, to: 1 });
const side = { width: 64, height: 64 };
const grid = { rows: 8, columns: 8 };
const squeezed = { window: windowOf(96, 96, side, 0) };

/** The pixels inside, as rows of # and dots. */
async function drawn(region: InspectedRegion, columns: number, rows: number): Promise<string[]> {
  const inside = (await inspectionOf(region)).inside(squeezed, side, grid).pixels(whole(columns), whole(rows));
  const text = Array.from(inside, i => (i ? '#' : '.')).join('');
  return Array.from({ length: rows }, (_, row) => text.slice(row * columns, (row + 1) * columns));
}

const patchesOf = async (region: InspectedRegion, at = squeezed): Promise<number[]> =>
  Array.from((await inspectionOf(region)).inside(at, side, grid).patches);

async function scoreOf(engine: Engine, name: string, image: Buffer): Promise<ScoreResult> {
  const [entry] = await engine.score(name, [image]);
  if (entry instanceof GoodpartsError) throw entry;
  return entry;
}

const valuesOf = ({ map }: ScoreResult): Float32Array =>
  new Float32Array(map!.data.buffer, map!.data.byteOffset, map!.width * map!.height);

const code = (expected: string, says?: RegExp) => (error: unknown) => {
  assert.ok(error instanceof GoodpartsError, String(error));
  assert.equal(error.code, expected);
  if (says) assert.match(error.message, says);
  return true;
};

/** A mask of a size: white where `inside` says so. */
function mask(width: number, height: number, inside: (x: number, y: number) => boolean): Promise<Buffer> {
  const data = Uint8Array.from({ length: width * height }, (_, i) =>
    inside(i % width, Math.floor(i / width)) ? 255 : 0
  );
  return sharp(data, { raw: { width, height, channels: 1 } })
    .png()
    .toBuffer();
}

describe('region', () => {
  describe('pixels', () => {
    it('are those whose centres lie inside, whichever way round a polygon is drawn', async () => {
      const triangle: Polygon = [
        [0, 0],
        [1, 0],
        [0, 1]
      ];
      const expected = ['###.', '##..', '#...', '....'];
      assert.deepEqual(await drawn(include(triangle), 4, 4), expected);
      assert.deepEqual(await drawn(include(triangle.slice().reverse()), 4, 4), expected);
    });

    it('of an outline that crosses itself have no hole', async () => {
      const star = [0, 2, 4, 1, 3].map((i): [number, number] => {
        const angle = (i * 2 * Math.PI) / 5 - Math.PI / 2;
        return [0.5 + 0.5 * Math.cos(angle), 0.5 + 0.5 * Math.sin(angle)];
      });
      const rows = await drawn(include(star), 21, 21);
      assert.equal(rows[10][10], '#', rows.join('\n'));
    });

    it('are those of any polygon to include, without those to exclude and the black of the mask', async () => {
      const region = {
        include: [box(0, 0, 0.5, 0.5), box(0.25, 0, 1, 0.25)],
        exclude: [box(0, 0, 0.25, 0.25)],
        mask: await mask(4, 4, x => x < 3)
      };
      assert.deepEqual(await drawn(region, 4, 4), ['.##.', '##..', '....', '....']);
      assert.deepEqual(await drawn({ include: [], exclude: [TOP] }, 2, 4), ['..', '..', '##', '##']);
    });
  });

  describe('patches', () => {
    it('are those of whose cells it takes half, and any that it meets where it is narrower', async () => {
      assert.deepEqual(
        await patchesOf(include(TOP)),
        Array.from({ length: 32 }, (_, i) => i)
      );
      // a line of a hundredth of the picture is inspected over its whole length
      assert.deepEqual(
        await patchesOf(include(box(0, 0.3, 1, 0.31))),
        Array.from({ length: 8 }, (_, i) => 16 + i)
      );
      assert.deepEqual(await patchesOf(include(box(0.126, 0.126, 0.249, 0.249))), [9]);
      assert.deepEqual(await patchesOf(include(box(0, 0, 0.25 + 0.4 / 8, 0.125))), [0, 1]);
      assert.deepEqual(await patchesOf(include(box(0, 0, 0.25 + 0.6 / 8, 0.125))), [0, 1, 2]);
    });

    it('of a centre crop are found in the original picture', async () => {
      // 192 x 96 resized to 160 x 80, of which 48..112 and 8..72 are taken: a cell is 8 of these pixels
      const at = { window: windowOf(192, 96, side, 80) };
      assert.deepEqual(at.window, { resizedWidth: 160, resizedHeight: 80, left: 48, top: 8 });
      const cell = box(64.5 / 160, 16.5 / 80, 71.5 / 160, 23.5 / 80);
      assert.deepEqual(await patchesOf(include(cell), at), [8 + 2]);
      assert.deepEqual(await patchesOf(include(box(0, 0, 0.29, 1)), at), [], 'beside the crop');
      assert.equal((await patchesOf(include(box(0, 0, 0.5, 1)), at)).length, 32);
    });

    it('of a mask picture are those of the same polygon, at any resolution', async () => {
      const expected = await patchesOf(include(box(0.25, 0.5, 0.75, 1)));
      for (const n of [8, 100, 1500])
        assert.deepEqual(
          await patchesOf({
            include: [],
            exclude: [],
            mask: await mask(n, n, (x, y) => x >= n / 4 && x < 0.75 * n && y >= n / 2)
          }),
          expected
        );
    });

    it('are mirrored and turned with the copies that are learned', async () => {
      const inspection = await inspectionOf(include(box(0, 0, 0.25, 0.125)));
      const of = (copy: Inspection) => Array.from(copy.inside(squeezed, side, grid).patches);
      const flips = await inspection.copies({ width: 96, height: 96 }, 'flips');
      assert.deepEqual(flips.map(of), [
        [0, 1],
        [6, 7],
        [56, 57],
        [62, 63]
      ]);
      const rotations = await inspection.copies({ width: 96, height: 96 }, 'rotations');
      assert.equal(rotations.length, 8);
      // a quarter turn clockwise brings the upper left corner to the upper right one
      assert.deepEqual(of(rotations[2]), [7, 15]);
      assert.deepEqual(of(rotations[4]), [62, 63]);
    });
  });

  it('makes a detector that sees nothing outside: neither in the bank nor in score, map and regions', async () => {
    const store = scratch();
    const engine = new Engine({ store });
    const good = await parts(12);
    // the network sees a little beyond a patch
    const away = { include: [], exclude: [box(0, 0, 1, 0.75)] };
    for (const [name, region] of Object.entries({ top: include(TOP), bottom: away }))
      await engine.fit(name, good, { ...settings, inputWidth: 128, inputHeight: 128, region });
    const bad = await part({ seed: 7, defect: true });
    const found = await scoreOf(engine, 'top', bad);
    const ignored = await scoreOf(engine, 'bottom', bad);
    const limit = (name: string) =>
      engine.list().then(all => all.find(d => d.name === name)!.calibration.scores.at(-1)!);
    assert.ok(found.score > 1.2 * (await limit('top')), `${found.score} of the defect inside`);
    assert.ok(ignored.score < 1.3 * (await limit('bottom')), `${ignored.score} of the defect outside`);
    assert.ok(found.regions[0].y + found.regions[0].height <= 48, JSON.stringify(found.regions));
    assert.ok(found.damage > 2 * ignored.damage);
    valuesOf(found).forEach((v, i) => assert.equal(Number.isNaN(v), i >= 48 * 96, `pixel ${i}`));
    valuesOf(ignored).forEach((v, i) => assert.equal(Number.isNaN(v), i < 72 * 96, `pixel ${i}`));

    const bank = decodeNpy(fs.readFileSync(path.join(store, 'top', 'v1', 'bank.npy')));
    assert.equal(bank.shape[0], Math.floor(12 * 128 * 0.1));
    const rows = (from: Float32Array, d: number) =>
      Array.from({ length: from.length / d }, (_, i) =>
        Buffer.from(from.slice(i * d, (i + 1) * d).buffer).toString('hex')
      );
    const runtime = await Runtime.create('cpu', 1);
    const larger = completeSettings({ ...settings, inputWidth: 128, inputHeight: 128 });
    const extractor = await Extractor.create(runtime, larger);
    const [inside, outside] = [new Set<string>(), new Set<string>()];
    for (const image of good) {
      const { input } = await extractor.prepare(await decode(image));
      const { patches, dimensions } = await extractor.embed([input]);
      rows(patches[0], dimensions).forEach((row, i) => (i < 128 ? inside : outside).add(row));
    }
    for (const row of rows(bank.data as Float32Array, 384)) assert.ok(inside.has(row) && !outside.has(row));

    // what it says of a picture is what a search of the inside patches in this bank says
    const prepared = await extractor.prepare(await decode(bad));
    const embeddings = await extractor.embed([prepared.input]);
    const seen = (await inspectionOf(include(TOP))).inside(prepared, extractor.size, embeddings);
    const search = await createSearch(runtime, bank.data as Float32Array, 384, larger);
    const { score } = await search.search(inspectedRows(embeddings.patches[0], 384, seen));
    assert.ok(Math.abs(score - found.score) < 1e-5, `${score}, ${found.score}`);
    await Promise.all([search.release(), extractor.release(), engine.close()]);
  });

  it('finds a defect at its edge, undiluted by what lies beyond', async () => {
    const engine = new Engine({ store: scratch() });
    const good = await parts(12);
    await engine.fit('whole', good, { ...SMALL, coresetRatio: 1 });
    // the edge runs through the middle of the defect
    const region = include(box(0, 0, 0.51, 1));
    await engine.fit('half', good, { ...SMALL, coresetRatio: 1, region });
    const bad = await part({ seed: 7, defect: true });
    const [all, half] = [await scoreOf(engine, 'whole', bad), await scoreOf(engine, 'half', bad)];
    const edge = 28 * 96 + 48;
    assert.ok(valuesOf(half)[edge] > 0.9 * valuesOf(all)[edge], `${valuesOf(half)[edge]}, ${valuesOf(all)[edge]}`);
    assert.ok(Number.isNaN(valuesOf(half)[edge + 1]));
    assert.ok(half.regions.length && half.regions[0].x + half.regions[0].width <= 49, JSON.stringify(half.regions));
    // far from the edge the map is what it is without a region
    const far = 28 * 96 + 5;
    assert.ok(Math.abs(valuesOf(half)[far] - valuesOf(all)[far]) < 0.1 * valuesOf(all)[far]);
    await engine.close();
  });

  it('is kept with the version: another engine scores the same, without the file of the mask', async () => {
    const store = scratch();
    const first = new Engine({ store });
    const region = { include: [box(0, 0, 1, 0.9)], exclude: [], mask: await mask(2000, 1000, (_, y) => y < 500) };
    const result = await first.fit('kept', await parts(4), { ...settings, region, augment: 'flips' });
    const other = new Engine({ store });
    const bad = await part({ defect: true });
    const [a, b] = [await scoreOf(first, 'kept', bad), await scoreOf(other, 'kept', bad)];
    assert.equal(a.score, b.score);
    const info = await other.load('kept');
    assert.deepEqual(info.settings.region.include, region.include);
    const kept = await sharp(Buffer.from(info.settings.region.mask as string, 'base64')).metadata();
    assert.deepEqual([kept.width, kept.height], [1024, 512]);
    assert.equal(result.patches, 4 * 4 * 32);
    await Promise.all([first.close(), other.close()]);
  });

  it('calibrates a single picture, other distances and a crop on the inside only', async function () {
    this.timeout(180_000);
    const engine = new Engine({ store: scratch() });
    const region = include(box(0, 0, 0.6, 0.6));
    const pci = { preset: 'pci' as const, inputWidth: 64, inputHeight: 64, resizeShorter: 72, region };
    await engine.fit('one', [await part()], pci);
    await engine.fit('some', await parts(2), pci);
    for (const name of ['one', 'some']) {
      const { calibration } = await engine.load(name);
      const { scores, mapMaxima, mapMedian } = calibration;
      for (const n of [...scores, ...mapMaxima, mapMedian]) assert.ok(Number.isFinite(n) && n > 0, `${name} ${n}`);
      const values = valuesOf(await scoreOf(engine, name, await part({ seed: 9 })));
      // 72 pixels are the picture's 96, of which 4 on each side are cut off: 5.3 of 96
      values.forEach((v, i) => {
        const [x, y] = [i % 96, Math.floor(i / 96)];
        assert.equal(Number.isNaN(v), Math.min(x, y) < 5 || Math.max(x, y) > 57, `${name} ${x}, ${y}: ${v}`);
      });
    }
    await engine.close();
  });

  it('that leaves nothing is refused with a sentence, before any picture or for the picture that it does not meet', async () => {
    const engine = new Engine({ store: scratch() });
    const refused = (region: unknown, expected: string, says: RegExp) =>
      assert.rejects(engine.startFit('no', { ...settings, region: region as InspectedRegion }), code(expected, says));
    await refused({ include: [TOP], exclude: [box(0, 0, 1, 1)] }, 'region-empty', /leaves nothing to inspect/);
    const black = await mask(8, 8, () => false);
    await refused({ include: [], exclude: [], mask: black }, 'region-empty', /white is inspected/);
    await refused({ include: [], exclude: [], mask: Buffer.from('x') }, 'image-format', /^The mask of the region: /);
    await refused({ include: [[[0, 0]]], exclude: [] }, 'fit-settings', /3 to 1000 points/);
    await refused(
      {
        include: [
          [
            [0, 0],
            [2, 0],
            [0, 1]
          ]
        ],
        exclude: []
      },
      'fit-settings',
      /0 to 1/
    );
    await refused('x', 'fit-settings', /include and exclude/);
    const left = { ...SMALL, resizeShorter: 64, region: include(box(0, 0, 0.2, 1)) };
    const session = await engine.startFit('crop', left);
    await session.add(await part());
    const wide = await sharp(await part())
      .resize(300, 96, { fit: 'fill' })
      .png()
      .toBuffer();
    await assert.rejects(session.add(wide), code('region-empty', /a picture of 300 x 96/));
    const other = await sharp(await part())
      .resize(140, 96, { fit: 'fill' })
      .png()
      .toBuffer();
    await assert.rejects(session.add(other), code('region-shape', /140 x 96/));
    await session.add(await part({ seed: 2 }));
    assert.equal((await session.finish()).images, 2, 'the fit goes on without it');
    const [entry] = await engine.score('crop', [wide, await part()]);
    assert.ok(code('region-empty')(entry));
    await engine.close();
  });

  it('lies in shares: a picture of another resolution or aspect is inspected in the same shares', async () => {
    const engine = new Engine({ store: scratch() });
    await engine.fit('shares', await parts(4), { ...settings, region: include(box(0, 0, 0.5, 1)) });
    const wide = await sharp(await part())
      .resize(300, 200, { fit: 'fill' })
      .png()
      .toBuffer();
    const values = valuesOf(await scoreOf(engine, 'shares', wide));
    values.forEach((v, i) => assert.equal(Number.isNaN(v), i % 300 >= 150));
    await engine.close();
  });

  it('is not exported, as the network alone cannot keep to it', async () => {
    const engine = new Engine({ store: scratch() });
    await engine.fit('kept', await parts(2), { ...SMALL, region: include(TOP) });
    await assert.rejects(
      engine.exportOnnx('kept', { method: 'percentile', value: 99 }),
      code('export-region', /a region of the picture only/)
    );
    await engine.close();
  });

  it('makes the plan of a fit smaller', async () => {
    const engine = new Engine({ store: scratch() });
    const plan = await engine.plan({ ...settings, augment: 'flips', region: include(TOP) }, { images: 10 });
    assert.equal(plan.patches, 10 * 4 * 32);
    await engine.close();
  });
});
