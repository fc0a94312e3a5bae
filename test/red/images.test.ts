import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import vm from 'node:vm';
import { picturesOf, readPicture } from '../../lib/red/images';

const limits = { maxBytes: 5000, maxPixels: 1e6, maxSide: 5000 };
const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==',
  'base64'
);

describe('Images of a message', () => {
  let base: string;
  let folder: string;
  before(async () => {
    base = await fs.realpath(await fs.mkdtemp(path.join(os.tmpdir(), 'goodparts-')));
    folder = path.join(base, 'allowed');
    await fs.mkdir(path.join(folder, 'sub'), { recursive: true });
    await fs.mkdir(path.join(base, 'allowed-not'));
    for (const file of ['allowed/ok.png', 'allowed/sub/..dots.png', 'secret.png', 'allowed-not/near.png'])
      await fs.writeFile(path.join(base, file), png);
    await fs.writeFile(path.join(folder, 'big.png'), Buffer.alloc(limits.maxBytes + 1));
    await fs.symlink(path.join(base, 'secret.png'), path.join(folder, 'link.png'));
    await fs.symlink(base, path.join(folder, 'up'));
  });
  after(() => fs.rm(base, { recursive: true, force: true }));

  const read = (source: unknown) => readPicture(source, { limits, folders: [folder] });
  const one = async (value: unknown, msg = {}) => read(picturesOf(value, msg).sources[0]);

  it('takes bytes, wrapped or not, as they are', async () => {
    assert.equal(await one(png), png);
    assert.equal(await one({ value: png, key: 'k' }), png);
    assert.equal(await one({ buffer: png, originalname: 'x' }), png);
    assert.deepEqual(await one(JSON.parse(JSON.stringify(png))), png);
  });

  it('takes bytes that a function node made, with classes of its own', async () => {
    const made = (code: string) => vm.runInNewContext(code, { png: [...png] }) as unknown;
    for (const code of ['new Uint8Array(png)', 'new Uint8Array(png).buffer', 'new Uint8Array([0, ...png]).subarray(1)'])
      assert.deepEqual(await one(made(code)), png, code);
  });

  it('takes base64 and data URIs', async () => {
    const text = png.toString('base64');
    assert.deepEqual(await one(text), png);
    assert.deepEqual(await one(`data:image/png;base64,${text}`), png);
    assert.deepEqual(await one(text.replace(/(.{40})/g, '$1\r\n')), png);
    const jpeg = Buffer.concat([Buffer.from([0xff, 0xd8, 0xff]), Buffer.alloc(90, 7)]);
    assert.deepEqual(await one(jpeg.toString('base64')), jpeg, 'begins with a slash, as a path does');
  });

  it('takes raw pixels', async () => {
    const raw = { data: Buffer.alloc(12), width: 2, height: 2, channels: 3 };
    assert.deepEqual(await one(raw), raw);
    assert.deepEqual(await one({ ...raw, data: JSON.parse(JSON.stringify(raw.data)) }), raw, 'as JSON');
    assert.deepEqual(await one({ ...raw, data: new ArrayBuffer(12) }), raw);
    await assert.rejects(one({ ...raw, data: 'pixels' }), { code: 'image-raw' });
    for (const odd of ['2', null, { length: 1 }])
      await assert.rejects(one({ ...raw, width: odd }), { code: 'image-raw' });
  });

  it('takes paths inside the allowed folders, relative ones from the first', async () => {
    assert.deepEqual(await one(path.join(folder, 'ok.png')), png);
    assert.deepEqual(await one('ok.png'), png);
    assert.deepEqual(await one('sub/..dots.png'), png);
    assert.deepEqual(await one(`file://${folder}/ok.png`), png);
  });

  it('refuses paths outside, also through links, and does not tell what exists there', async () => {
    const outside = [
      '/etc/passwd',
      '../secret.png',
      '../nothing.png',
      'sub/../../secret.png',
      '../allowed-not/near.png'
    ];
    for (const file of [...outside, 'link.png', 'up/secret.png', '..'])
      await assert.rejects(one(file), { code: 'path-forbidden' }, file);
  });

  it('names files that are missing, no files, or too large', async () => {
    for (const file of ['none.png', 'sub', 'ok.png/x', `${'x'.repeat(300)}.png`, 'a\0b.png'])
      await assert.rejects(one(file), { code: 'path-missing' }, file);
    await assert.rejects(one('big.png'), { code: 'image-too-large' });
    await assert.rejects(one(Buffer.alloc(limits.maxBytes + 1)), { code: 'image-too-large' });
    await assert.rejects(one('A'.repeat(8000)), { code: 'image-too-large' });
  });

  it('refuses text that is neither a path nor an image', async () => {
    await assert.rejects(one('<html><body>404</body></html>'), { code: 'image-format' });
    for (const long of ['<html>' + 'a'.repeat(5000), 'no image, but many words '.repeat(200), 'ß'.repeat(5000)])
      await assert.rejects(one(long), { code: 'image-format' }, long.slice(0, 9));
    await assert.rejects(one('line\nline'), { code: 'image-format' });
    await assert.rejects(one('data:image/svg+xml,<svg/>'), { code: 'image-unreadable' });
    await assert.rejects(one('data:image/png;base64,'), { code: 'image-empty' });
  });

  it('finds uploads beside the fields of a form', () => {
    const upload = (n: number) => ({ fieldname: 'f', buffer: Buffer.from([n]) });
    const msg = { req: { files: [upload(1), upload(2)] } };
    assert.deepEqual(picturesOf({ part: '17' }, msg), { sources: [Buffer.from([1]), Buffer.from([2])], many: true });
    assert.deepEqual(picturesOf({}, { req: { files: [upload(1)] } }), { sources: [Buffer.from([1])], many: false });
    assert.deepEqual(picturesOf(png, msg).sources, [png]);
  });

  it('finds nothing where there is nothing, and keeps the entries of an array apart', async () => {
    for (const value of [undefined, null, '', {}, 17, true, { part: 17 }])
      assert.deepEqual(picturesOf(value, {}).sources, []);
    const { sources, many } = picturesOf([png, 17], {});
    assert.equal(many, true);
    await assert.rejects(read(sources[1]), { code: 'input-missing' });
  });
});
