import assert from 'node:assert/strict';
import sharp from 'sharp';
import { Engine, GoodpartsError, type ScoreResult } from '../../lib/engine';
import { Aligner } from '../../lib/engine/align';
import { decode, type Picture } from '../../lib/engine/decode';
import { completeSettings } from '../../lib/engine/presets';
import { noise, scratch } from '../support';

const SETTINGS = { inputWidth: 96, inputHeight: 96, smoothing: 1, align: 'turn' as const };

const scored = (entry: ScoreResult | GoodpartsError): ScoreResult => {
  if (entry instanceof GoodpartsError) throw entry;
  return entry;
};

const code =
  (expected: string, text = /./) =>
  (error: unknown) =>
    error instanceof GoodpartsError && error.code === expected && text.test(error.message);

interface Lie {
  x?: number;
  y?: number;
  angle?: number;
  /** a bright spot on the handle */
  spot?: boolean;
  shape?: string;
  seed?: number;
}

const SPANNER =
  '<rect x="-70" y="-9" width="120" height="18" fill="#444"/><circle cx="62" cy="0" r="26" fill="#555"/><circle cx="62" cy="0" r="11" fill="#ccc"/><rect x="-82" y="-20" width="22" height="26" fill="#333"/>';

/** A spanner on a light ground, turned clockwise about its origin, which is at x, y. */
async function spanner({ x = 130, y = 110, angle = 0, spot = false, shape = SPANNER, seed = 1 }: Lie = {}) {
  const mark = spot ? '<circle cx="-35" cy="0" r="7" fill="#fff"/>' : '';
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="260" height="220"><rect width="260" height="220" fill="#ccc"/><g transform="translate(${x} ${y}) rotate(${angle})">${shape}${mark}</g></svg>`;
  const grain = noise({ width: 260, height: 220, mean: 6 + seed, sigma: 3, seed: 6 + Math.round(angle) });
  return sharp(Buffer.from(svg))
    .removeAlpha()
    .composite([{ ...grain, blend: 'add' }])
    .png()
    .toBuffer();
}

const LIES: Lie[] = [
  { angle: 0 },
  { angle: 37, x: 120, y: 100 },
  { angle: 90 },
  { angle: 131.5, x: 140 },
  { angle: 180, y: 120 },
  { angle: -118.2, x: 128, y: 112 },
  { angle: -20, x: 137, y: 104 }
];

describe('alignment', () => {
  it('tells how a part lies, to a fraction of a degree and of a pixel, and turns it back', async () => {
    const reference = await decode(await spanner({ angle: 15 }));
    const aligner = await Aligner.create(reference, completeSettings(SETTINGS));
    const origin = aligner.alignment((await aligner.find(reference))!);
    assert.deepEqual([origin.angle, origin.match], [0, 1]);
    assert.ok(Math.hypot(origin.dx, origin.dy) < 0.1);
    for (const lie of LIES) {
      const picture = await decode(await spanner(lie));
      const found = (await aligner.find(picture))!;
      const { angle, match } = aligner.alignment(found);
      const off = ((((lie.angle! - 15 - angle) % 360) + 540) % 360) - 180;
      assert.ok(Math.abs(off) < 0.4, `${angle} instead of ${lie.angle! - 15}`);
      assert.ok(match > 0.97, `${match}`);
      const turned = aligner.turned(picture, found.pose);
      assert.deepEqual([turned.width, turned.height], [260, 220]);
      assert.ok(difference(turned, reference) < 6, `${difference(turned, reference)} at ${lie.angle}`);
    }
  });

  it('says what is turned by half from what is not, even where it nearly looks the same', async () => {
    const rod =
      '<rect x="-70" y="-10" width="140" height="20" fill="#444"/><rect x="50" y="-10" width="8" height="20" fill="#999"/>';
    const aligner = await Aligner.create(await decode(await spanner({ shape: rod })), completeSettings(SETTINGS));
    for (const angle of [0, 180, 170, -10, 60, -120]) {
      const found = await aligner.find(await decode(await spanner({ shape: rod, angle, x: 125, y: 108 })));
      const off = ((((angle - aligner.alignment(found!).angle) % 360) + 540) % 360) - 180;
      assert.ok(Math.abs(off) < 1, `${aligner.alignment(found!).angle} instead of ${angle}`);
    }
  });

  for (const align of ['turn', 'crop'] as const)
    it(`gives the map, regions and damage in the picture as it came (${align})`, async () => {
      const engine = new Engine({ store: scratch() });
      const good = await Promise.all(LIES.map((lie, i) => spanner({ ...lie, seed: i % 3 })));
      const { calibration } = await engine.fit('spanner', good, { ...SETTINGS, align });
      const highest = calibration.scores.at(-1)!;
      for (const lie of [
        { angle: 75, x: 131, y: 113 },
        { angle: 201, x: 133, y: 108 }
      ]) {
        const pictures = [await spanner(lie), await spanner({ ...lie, spot: true })];
        const [fine, bad] = (await engine.score('spanner', pictures)).map(scored);
        assert.ok(
          fine.score < 1.5 * highest && bad.score > 1.3 * highest,
          `${fine.score}, ${bad.score}, good ${highest}`
        );
        assert.ok(fine.alignment!.match > 0.95 && !fine.note);
        const a = (lie.angle * Math.PI) / 180;
        const [x, y] = [lie.x - 35 * Math.cos(a), lie.y - 35 * Math.sin(a)];
        const { map } = bad;
        assert.deepEqual([map!.width / map!.height, bad.image], [260 / 220, { width: 260, height: 220 }]);
        const values = new Float32Array(map!.data.buffer, map!.data.byteOffset, map!.data.length / 4);
        const top = values.reduce((best, v, i) => (v > values[best] || Number.isNaN(values[best]) ? i : best), 0);
        const [px, py] = [top % map!.width, Math.floor(top / map!.width)].map(n => ((n + 0.5) * 260) / map!.width);
        // patches are 22 pixels apart
        assert.ok(Math.hypot(px - x, py - y) < 16, `found at ${px}, ${py} instead of ${x}, ${y}`);
        const [region] = bad.regions;
        assert.ok(region.x < x && region.x + region.width > x && region.y < y && region.y + region.height > y);
        // what was beyond the frame was not inspected
        assert.ok(values.some(v => Number.isNaN(v)) && !Number.isNaN(bad.damage) && bad.damage > 0);
      }
      await engine.close();
    });

  it('never passes a picture whose part it cannot find', async () => {
    const engine = new Engine({ store: scratch() });
    const good = await Promise.all(LIES.map(lie => spanner(lie)));
    const { calibration } = await engine.fit('found', good, SETTINGS);
    const pictures = [
      await spanner({ shape: '' }),
      await spanner({ shape: '<circle r="50" fill="#444"/>' }),
      await spanner({ shape: '<rect x="-300" y="-300" width="600" height="600" fill="#444"/>' })
    ];
    for (const entry of (await engine.score('found', pictures)).map(scored)) {
      assert.ok(entry.score >= 1.5 * calibration.scores.at(-1)!);
      assert.match(entry.note!, /could not be aligned: (no part was found|the part is unlike)/);
      assert.ok(entry.alignment!.match < 0.5);
    }
    await engine.close();
  });

  it('leaves pictures without a part out of the fit, and goes on with the next', async () => {
    const engine = new Engine({ store: scratch() });
    const session = await engine.startFit('choosy', SETTINGS);
    await assert.rejects(session.add(await spanner({ shape: '' })), code('image-align', /even background/));
    await session.add(await spanner());
    await assert.rejects(
      session.add(await spanner({ shape: '<circle r="50" fill="#444"/>' })),
      code('image-align', /unlike/)
    );
    // added at once, they are still aligned to the first one
    await Promise.all(LIES.map(async lie => session.add(await spanner(lie))));
    assert.equal((await session.finish()).images, 8);
    await engine.close();
  });

  it('goes with tiles', async () => {
    const engine = new Engine({ store: scratch() });
    const good = await Promise.all(LIES.map(lie => spanner(lie)));
    await engine.fit('both', good, { inputWidth: 64, inputHeight: 64, tile: 128, align: 'turn', smoothing: 1 });
    const [bad] = (await engine.score('both', [await spanner({ angle: 75, spot: true })])).map(scored);
    const a = (75 * Math.PI) / 180;
    const [region] = bad.regions;
    const [x, y] = [130 - 35 * Math.cos(a), 110 - 35 * Math.sin(a)];
    assert.ok(region.x < x && region.x + region.width > x && region.y < y && region.y + region.height > y);
    assert.ok(region.width < 80 && region.height < 80);
    await engine.close();
  });

  it('refuses other words', () => {
    assert.throws(() => completeSettings({ align: 'yes' as never }), code('fit-settings', /none, turn, crop/));
  });
});

/** Mean difference of the grey levels. */
function difference(a: Picture, b: Picture): number {
  return a.data.reduce((sum, v, i) => sum + Math.abs(v - b.data[i]), 0) / a.data.length;
}
