import assert from 'node:assert/strict';
import sharp from 'sharp';
import { decode, DEFAULT_LIMITS } from '../../lib/engine/decode';
import { GoodpartsError } from '../../lib/engine/errors';
import type { ImageInput, ImageLimits } from '../../lib/engine/types';

const [WIDTH, HEIGHT] = [6, 4];
const solid = (color: string, alpha = 1) =>
  sharp({ create: { width: WIDTH, height: HEIGHT, channels: 4, background: color } }).ensureAlpha(alpha);

async function assertColour(input: ImageInput, expected: number[], tolerance = 4): Promise<void> {
  const { data, width, height } = await decode(input);
  assert.deepEqual([width, height, data.length], [WIDTH, HEIGHT, WIDTH * HEIGHT * 3]);
  expected.forEach((value, c) =>
    assert.ok(Math.abs(data[c] - value) <= tolerance, `channel ${c}: ${data[c]} instead of ${value}`)
  );
}

async function assertRefused(input: unknown, code: string, limits: Partial<ImageLimits> = {}): Promise<void> {
  await assert.rejects(decode(input as ImageInput, limits), error => {
    assert.ok(error instanceof GoodpartsError, String(error));
    assert.equal(error.code, code, error.message);
    assert.ok(error.message.length > 20);
    return true;
  });
}

describe('decode', () => {
  const orange = [230, 120, 30];
  const colour = 'rgb(230,120,30)';
  for (const format of ['jpeg', 'png', 'webp', 'tiff', 'gif', 'avif'] as const)
    it(`reads ${format}`, async () => {
      const image = solid(colour).removeAlpha();
      const bytes =
        format === 'jpeg' ? image.jpeg({ quality: 100, chromaSubsampling: '4:4:4' }) : image.toFormat(format);
      await assertColour(await bytes.toBuffer(), orange, format === 'gif' ? 8 : 4);
    });

  it('reads 16 bit, scaled to 8', async () => {
    const data = Uint16Array.from({ length: WIDTH * HEIGHT * 3 }, (_, i) => orange[i % 3] * 257);
    const png = await sharp(data, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
      .toColourspace('rgb16')
      .png()
      .toBuffer();
    assert.equal((await sharp(png).metadata()).depth, 'ushort');
    await assertColour(png, orange, 1);
  });

  it('reads grey, 8 and 16 bit', async () => {
    const grey8 = await sharp(new Uint8Array(24).fill(77), { raw: { width: WIDTH, height: HEIGHT, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toBuffer();
    assert.equal((await sharp(grey8).metadata()).channels, 1);
    await assertColour(grey8, [77, 77, 77], 0);
    const grey16 = await sharp(new Uint16Array(24).fill(77 * 257), {
      raw: { width: WIDTH, height: HEIGHT, channels: 1 }
    })
      .toColourspace('grey16')
      .png()
      .toBuffer();
    assert.equal((await sharp(grey16).metadata()).depth, 'ushort');
    await assertColour(grey16, [77, 77, 77], 1);
  });

  it('lays transparent pixels on black', async () => {
    await assertColour(await solid('rgba(200,100,50,0.5)').png().toBuffer(), [100, 50, 25]);
  });

  it('reads CMYK', async () => {
    const cmyk = await solid('rgb(200,60,60)').removeAlpha().toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer();
    assert.equal((await sharp(cmyk).metadata()).space, 'cmyk');
    await assertColour(cmyk, [200, 60, 60], 40);
  });

  it('converts an embedded profile to sRGB', async () => {
    const p3 = await solid(colour).removeAlpha().withIccProfile('p3').png().toBuffer();
    const stored = await sharp(p3, { ignoreIcc: true }).raw().toBuffer();
    assert.ok(Math.abs(stored[0] - orange[0]) > 4, 'the file must hold other numbers than sRGB');
    await assertColour(p3, orange, 3);
  });

  it('turns an EXIF-rotated picture upright', async () => {
    const data = new Uint8Array(WIDTH * HEIGHT * 3);
    data.fill(250, 0, 3); // top left, stored
    const stored = await sharp(data, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
      .withMetadata({ orientation: 6 })
      .png()
      .toBuffer();
    const { width, height, data: upright } = await decode(stored);
    assert.deepEqual([width, height], [HEIGHT, WIDTH]);
    assert.equal(upright[(HEIGHT - 1) * 3], 250); // orientation 6: top left goes to top right
  });

  it('takes raw pixels, grey, RGB and RGBA', async () => {
    const raw = (channels: 1 | 3 | 4, pixel: number[]) => ({
      data: Uint8Array.from({ length: WIDTH * HEIGHT * channels }, (_, i) => pixel[i % channels]),
      width: WIDTH,
      height: HEIGHT,
      channels
    });
    await assertColour(raw(3, orange), orange, 0);
    await assertColour(raw(1, [50]), [50, 50, 50], 0);
    await assertColour(raw(4, [...orange, 255]), orange, 0);
    await assertRefused({ ...raw(3, orange), width: 7 }, 'image-raw');
    await assertRefused({ data: 'x', width: 1, height: 1, channels: 3 }, 'image-raw');
  });

  it('takes the first frame of a GIF and refuses other files of several pictures', async () => {
    const frames = Buffer.concat([
      await solid(colour).removeAlpha().raw().toBuffer(),
      await solid('rgb(0,0,255)').removeAlpha().raw().toBuffer()
    ]);
    const animated = sharp(frames, { raw: { width: WIDTH, height: HEIGHT * 2, channels: 3, pageHeight: HEIGHT } });
    await assertColour(await animated.clone().gif().toBuffer(), orange, 8);
    await assertRefused(await animated.clone().webp({ lossless: true }).toBuffer(), 'image-pages');
  });

  it('refuses what is no image, says what it looks like', async () => {
    await assertRefused(Buffer.alloc(0), 'image-empty');
    for (const text of [
      'hello world',
      '<!doctype html><html></html>',
      '<svg xmlns="http://www.w3.org/2000/svg"/>',
      '%PDF-1.7',
      'BM1234',
      '\x00\x01\x02'
    ])
      await assertRefused(Buffer.from(text), 'image-format');
    const jpeg = await sharp({ create: { width: 300, height: 300, channels: 3, background: colour } })
      .composite([])
      .jpeg()
      .toBuffer();
    await assertRefused(jpeg.subarray(0, jpeg.length / 2), 'image-unreadable');
    await assertRefused(Buffer.from('\x89PNG\r\n\x1a\nbroken', 'latin1'), 'image-unreadable');
  });

  it('refuses too many bytes or pixels before decoding', async () => {
    const bomb = await sharp({
      create: { width: 20000, height: 20000, channels: 3, background: '#000' },
      limitInputPixels: false
    })
      .png({ compressionLevel: 9 })
      .toBuffer();
    assert.ok(bomb.length < DEFAULT_LIMITS.maxBytes);
    const before = process.memoryUsage().rss;
    await assertRefused(bomb, 'image-too-large');
    assert.ok(process.memoryUsage().rss - before < 300e6);
    const small = await solid(colour).png().toBuffer();
    await assertRefused(small, 'image-too-large', { maxBytes: 10 });
    await assertRefused(small, 'image-too-large', { maxPixels: 23 });
    await assertRefused(small, 'image-too-large', { maxSide: 5 });
  }).timeout(120000);
});
