import assert from 'node:assert/strict';
import sharp from 'sharp';
import type { AnomalyMap } from '../../lib/engine';
import { decode } from '../../lib/engine/decode';
import { colormap, type ColormapName, type Rgb } from '../../lib/red/overlay/colormaps';
import { shortNumber, textSvg, textWidth } from '../../lib/red/overlay/digits';
import { shrink } from '../../lib/red/overlay/grid';
import { renderOverlay, type OverlayOptions } from '../../lib/red/overlay/render';
import { colourScale, opacityAt } from '../../lib/red/overlay/scale';

const [WIDTH, HEIGHT] = [200, 120];

const mapOf = (width: number, height: number, value: (x: number, y: number) => number): AnomalyMap => {
  const values = Float32Array.from({ length: width * height }, (_, i) => value(i % width, Math.floor(i / width)));
  return { data: Buffer.from(values.buffer), width, height, normal: 1, threshold: 2 };
};

const options: OverlayOptions = {
  scale: 'detector',
  colormap: 'turbo',
  alpha: 0.5,
  contour: false,
  boxes: false,
  scaleBar: false,
  format: 'png',
  quality: 85,
  maxSide: 0
};

describe('overlay', () => {
  // entries 0, 128 and 255 of the published tables
  const published: Record<ColormapName, [Rgb, Rgb, Rgb]> = {
    jet: [
      [0, 0, 128],
      [130, 255, 126],
      [128, 0, 0]
    ],
    turbo: [
      [48, 18, 59],
      [164, 252, 60],
      [122, 4, 3]
    ],
    inferno: [
      [0, 0, 4],
      [188, 55, 84],
      [252, 255, 164]
    ],
    viridis: [
      [68, 1, 84],
      [33, 145, 140],
      [253, 231, 37]
    ]
  };
  for (const [name, entries] of Object.entries(published))
    it(`has ${name} as published`, () => {
      const colours = colormap(name as ColormapName);
      assert.equal(colours.length, 256);
      for (const [i, entry] of [0, 128, 255].entries())
        for (const channel of [0, 1, 2])
          assert.ok(Math.abs(colours[entry][channel] - entries[i][channel]) <= 7, `${entry}: ${colours[entry].join()}`);
    });

  const colour = { r: 100, g: 150, b: 50 };
  const flat = () => sharp({ create: { width: WIDTH, height: HEIGHT, channels: 3, background: colour } });
  const half = { ...colour, alpha: 0.5 };
  const kinds: Record<string, () => sharp.Sharp> = {
    'PNG of 16 bit': () => flat().toColourspace('rgb16').png(),
    'PNG of one channel': () => flat().toColourspace('b-w').png(),
    'PNG of one channel of 16 bit': () => flat().toColourspace('grey16').png(),
    'PNG with transparency': () =>
      sharp({ create: { width: WIDTH, height: HEIGHT, channels: 4, background: half } }).png(),
    'PNG with a palette': () => flat().png({ palette: true }),
    'JPEG in CMYK': () => flat().toColourspace('cmyk').jpeg(),
    'TIFF of 16 bit': () => flat().toColourspace('rgb16').tiff(),
    GIF: () => flat().gif(),
    WebP: () => flat().webp(),
    AVIF: () => flat().avif()
  };
  for (const [kind, encode] of Object.entries(kinds))
    it(`draws on a ${kind} as the engine sees it`, async () => {
      const image = await encode().toBuffer();
      const seen = (await decode(image)).data.subarray(0, 3);
      const map = mapOf(WIDTH, HEIGHT, x => (x < WIDTH / 2 ? 1 : 9));
      const overlay = await sharp(await renderOverlay({ image, map, regions: [] }, options))
        .raw()
        .toBuffer();
      assert.equal(overlay.length, WIDTH * HEIGHT * 3);
      const last = overlay.subarray(-3);
      for (const channel of [0, 1, 2]) {
        assert.ok(Math.abs(overlay[channel] - seen[channel]) <= 1, `clear: ${overlay.subarray(0, 3).join()}`);
        const tinted = (seen[channel] + colormap('turbo')[255][channel]) / 2;
        assert.ok(Math.abs(last[channel] - tinted) <= 2, `tinted: ${last.join()}`);
      }
    });

  it('ties the scale to the detector: threshold at 60 %, clear at what is normal', () => {
    const map = mapOf(1, 1, () => 0);
    const { min, max, threshold } = colourScale(map, options);
    assert.deepEqual([min, threshold], [1, 2]);
    assert.ok(Math.abs((2 - min) / (max - min) - 0.6) < 1e-9);
    assert.deepEqual([opacityAt(0), opacityAt(0.15), opacityAt(0.6), opacityAt(1)], [0, 0, 1, 1]);
    assert.ok(opacityAt(0.3) < opacityAt(0.4));
    const low = colourScale({ ...map, threshold: 0.5 }, options);
    assert.ok(low.min < 0.5 && low.max > 0.5, 'a threshold below what is normal');
  });

  it('completes a fixed scale from the detector, and refuses one that does not rise', () => {
    const map = mapOf(1, 1, () => 0);
    assert.deepEqual(colourScale(map, { scale: 'fixed', max: 4 }), { min: 1, max: 4, threshold: 2 });
    assert.throws(() => colourScale(map, { scale: 'fixed', min: 3, max: 3 }), { code: 'calibration-missing' });
  });

  it('leaves the event loop free while it draws 12 megapixels', async () => {
    const [width, height] = [4000, 3000];
    const image = await sharp({ create: { width, height, channels: 3, background: colour } })
      .jpeg()
      .toBuffer();
    const map = mapOf(width, height, (x, y) => (Math.hypot(x - 2000, y - 1500) < 500 ? 9 : 1));
    const all = { ...options, format: 'jpeg', contour: true, boxes: true, scaleBar: true } as const;
    let [busy, last, longest] = [true, performance.now(), 0];
    const turn = () => {
      const now = performance.now();
      [longest, last] = [Math.max(longest, now - last), now];
      if (busy) setImmediate(turn);
    };
    turn();
    const started = performance.now();
    const regions = [{ x: 1500, y: 1000, width: 1000, height: 1000, score: 9, area: 785398 }];
    await renderOverlay({ image, map, regions }, all);
    const total = performance.now() - started;
    busy = false;
    assert.ok(longest < total / 3, `blocked for ${longest.toFixed(0)} of ${total.toFixed(0)} ms`);
  });

  it('shrinks a map evenly', () => {
    const grid = shrink(
      mapOf(1000, 500, x => x),
      100
    );
    assert.deepEqual([grid.width, grid.height], [100, 50]);
    assert.ok(Math.abs(grid.values[0] - 4.5) <= 1 && Math.abs(grid.values[99] - 994.5) <= 1);
    const small = shrink(
      mapOf(3, 2, (x, y) => x + 10 * y),
      100
    );
    assert.deepEqual([...small.values], [0, 1, 2, 10, 11, 12]);
  });

  it('writes every number without a font', () => {
    const values = [0, 0.3002, 12.345, 54321, 123456789, 0.00001234, -0.5, 1e-300];
    const texts = values.map(shortNumber);
    assert.deepEqual(texts, ['0', '0.3', '12.3', '54320', '1.2e+8', '1.2e-5', '-0.5', '1.0e-300']);
    for (const text of texts) {
      assert.ok(textWidth(text) > 0);
      assert.equal(textSvg(text, 0, 0, 10, '#fff').match(/<path/g)?.length, text.length);
    }
  });
});
