import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { GoodpartsError } from '../lib/engine/errors';
import { readMask, readMvtec, scaleMask, trainingPictures } from '../lib/mvtec';
import { picturesIn } from '../lib/pictures';
import { put, scratch } from './support';

const problem =
  (code: string, ...texts: string[]) =>
  (error: unknown) =>
    error instanceof GoodpartsError && error.code === code && texts.every(text => error.message.includes(text));

describe("MVTec's layout", () => {
  const root = scratch();
  const folder = (...names: string[]) => path.join(root, ...names);
  const touch = (...files: string[]) => files.forEach(file => put(folder(file)));
  /** What was found, paths relative to the class. */
  async function read(name: string) {
    const { train, test, ...rest } = await readMvtec(folder(name));
    const short = (file: string | null) => file && path.relative(folder(name), file).split(path.sep).join('/');
    const brief = (images: typeof train) => images.map(i => [short(i.path), i.label, i.defect, short(i.maskPath)]);
    return { ...rest, train: brief(train), test: brief(test) };
  }

  it('reads pictures, labels, defects and masks in the order of their names', async () => {
    touch('bottle/train/good/001.png', 'bottle/train/good/000.png', 'bottle/test/good/000.png');
    touch('bottle/test/crack/000.png', 'bottle/test/crack/001.png', 'bottle/ground_truth/crack/000_mask.png');
    touch('bottle/readme.txt', 'bottle/license.txt');
    assert.deepEqual(await read('bottle'), {
      name: 'bottle',
      train: [
        ['train/good/000.png', 0, 'good', null],
        ['train/good/001.png', 0, 'good', null]
      ],
      test: [
        ['test/crack/000.png', 1, 'crack', 'ground_truth/crack/000_mask.png'],
        ['test/crack/001.png', 1, 'crack', null],
        ['test/good/000.png', 0, 'good', null]
      ]
    });
  });

  it('takes any case, format and naming of masks, and leaves out what is no picture', async () => {
    touch('mixed/Train/OK/A.JPG', 'mixed/Train/OK/.DS_Store', 'mixed/Train/OK/._A.JPG', 'mixed/Train/OK/Thumbs.db');
    touch('mixed/Test/OK/b.jpeg', 'mixed/Test/notes.txt', 'mixed/Train/broken/x.png', 'mixed/Test/OK/deeper/c.png');
    for (const file of ['1.JPG', '2.tif', '3.webp', 'Four.Jpg', '5.png']) touch(`mixed/Test/Broken/${file}`);
    for (const file of ['1_Mask.PNG', '2.bmp', '3_gt.jpg', 'four_mask.png']) touch(`mixed/Ground_Truth/broken/${file}`);
    const { train, test } = await read('mixed');
    assert.deepEqual(train, [['Train/OK/A.JPG', 0, 'good', null]]);
    assert.deepEqual(test, [
      ['Test/Broken/1.JPG', 1, 'Broken', 'Ground_Truth/broken/1_Mask.PNG'],
      ['Test/Broken/2.tif', 1, 'Broken', 'Ground_Truth/broken/2.bmp'],
      ['Test/Broken/3.webp', 1, 'Broken', 'Ground_Truth/broken/3_gt.jpg'],
      ['Test/Broken/5.png', 1, 'Broken', null],
      ['Test/Broken/Four.Jpg', 1, 'Broken', 'Ground_Truth/broken/four_mask.png'],
      ['Test/OK/b.jpeg', 0, 'good', null]
    ]);
  });

  it('does without ground truth, follows links and ignores dangling ones', async function () {
    touch('linked/train/good/0.png', 'linked/test/scratch/0.png');
    try {
      fs.symlinkSync(folder('linked/train/good/0.png'), folder('linked/train/good/1.png'));
      fs.symlinkSync(folder('linked/nowhere.png'), folder('linked/train/good/2.png'));
    } catch {
      this.skip(); // Windows without the right to make links
    }
    const { train, test } = await read('linked');
    assert.equal(train.length, 2);
    assert.deepEqual(test, [['test/scratch/0.png', 1, 'scratch', null]]);
  });

  it('says what is wrong with a folder that is no class', async () => {
    touch('plain/a.png', 'sets/cable/train/good/0.png', 'sets/screw/train/good/0.png', 'sets/other/x.png');
    touch('untested/train/good/0.png', 'unlearnt/test/good/0.png', 'hollow/train/good/x.txt');
    await assert.rejects(readMvtec(folder('none')), problem('path-missing', folder('none'), 'does not exist'));
    await assert.rejects(readMvtec(folder('plain/a.png')), problem('path-missing', 'is not a folder'));
    await assert.rejects(readMvtec(folder('plain')), problem('path-missing', 'train/good', 'ground_truth'));
    await assert.rejects(readMvtec(folder('unlearnt')), problem('path-missing', 'train/good'));
    await assert.rejects(readMvtec(folder('sets')), problem('path-missing', 'one of cable, screw'));
    await assert.rejects(readMvtec(folder('hollow')), problem('path-missing', 'train/good holds no picture'));
    await assert.rejects(readMvtec(folder('untested')), problem('path-missing', 'test/ holds no picture'));
  });

  it('tells a class from a folder of pictures', async () => {
    touch('either/class/train/good/0.png', 'either/pictures/0.png', 'either/pictures/1.txt');
    assert.deepEqual(await trainingPictures(folder('either/class')), [folder('either/class/train/good/0.png')]);
    assert.equal(await trainingPictures(folder('either/pictures')), null);
    assert.deepEqual(await picturesIn(folder('either/pictures')), [folder('either/pictures/0.png')]);
  });
});

describe('masks', () => {
  const root = scratch();
  const folder = (...names: string[]) => path.join(root, ...names);
  /** 3 x 2, the right column defective. */
  const pixels = [0, 0, 1, 0, 0, 1];
  const grey = (value: number) =>
    sharp(Buffer.from(pixels.map(p => p * value)), { raw: { width: 3, height: 2, channels: 1 } });

  it('are what is not black, in every format', async () => {
    const colour = Buffer.from(pixels.flatMap(p => [0, 0, p * 128]));
    const written = {
      'white.png': await grey(255).png().toBuffer(),
      'label.png': await grey(1).png().toBuffer(),
      'palette.png': await grey(255).png({ palette: true }).toBuffer(),
      'deep.png': await grey(255).toColourspace('grey16').png().toBuffer(),
      'blue.png': await sharp(colour, { raw: { width: 3, height: 2, channels: 3 } })
        .png()
        .toBuffer(),
      'white.tif': await grey(255).tiff({ compression: 'lzw' }).toBuffer(),
      'white.webp': await grey(255).webp({ lossless: true }).toBuffer()
    };
    for (const [name, bytes] of Object.entries(written)) {
      put(folder(name), bytes);
      const mask = await readMask(folder(name));
      assert.deepEqual([mask.width, mask.height, ...mask.data], [3, 2, ...pixels.map(p => p * 255)], name);
    }
  });

  it('of JPEG are told from their noise', async () => {
    const side = 40;
    const square = Buffer.alloc(side * side);
    for (let y = 10; y < 30; y++) square.fill(255, y * side + 11, y * side + 29);
    const raw = { raw: { width: side, height: side, channels: 1 as const } };
    put(folder('mask.jpg'), await sharp(square, raw).jpeg({ quality: 60 }).toBuffer());
    const area = (await readMask(folder('mask.jpg'))).data.filter(v => v === 255).length;
    assert.ok(Math.abs(area - 20 * 18) <= 20, `${area}`);
  });

  it('name the file when they cannot be read', async () => {
    put(folder('text.png'), 'not a picture');
    await assert.rejects(readMask(folder('text.png')), problem('image-format', folder('text.png')));
    await assert.rejects(readMask(folder('none.png')), problem('path-missing', folder('none.png')));
  });

  it('scale to the picture by the nearest pixel', () => {
    const mask = { data: Uint8Array.from(pixels), width: 3, height: 2 };
    assert.equal(scaleMask(mask, 3, 2), mask);
    assert.deepEqual(Array.from(scaleMask(mask, 6, 4).data.subarray(0, 12)), [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]);
    assert.deepEqual(Array.from(scaleMask(mask, 1, 1).data), [0]);
  });
});
