import assert from 'node:assert/strict';
import path from 'node:path';
import sharp from 'sharp';
import type { Evaluation } from '../../lib/evaluate';
import { scratch } from '../support';
import { refused, run, SMALL, writeClass } from './run';

describe('a mask on the command line', () => {
  const cwd = scratch();
  before(() => writeClass(path.join(cwd, 'disc')));

  it('keeps to a mask: fit, score, evaluate', async () => {
    // the defects are in the upper left quarter of the part
    const mask = (from: number) =>
      sharp({ create: { width: 96, height: 96, channels: 3, background: '#000' } })
        .composite([
          { input: { create: { width: 96, height: 24, channels: 3, background: '#fff' } }, top: from, left: 0 }
        ])
        .png()
        .toFile(path.join(cwd, `mask-${from}.png`));
    await Promise.all([mask(24), mask(72)]);
    const masked = await run(
      cwd,
      'fit',
      'ring',
      'disc',
      ...SMALL,
      '--mask',
      'mask-24.png',
      '--json',
      '--store',
      'masked'
    );
    assert.equal(masked.code, 0, masked.stderr);
    assert.equal((JSON.parse(masked.stdout) as { patches: number }).patches, 6 * 2 * 8);
    const evaluated = async (file: string) => {
      const { stdout, stderr } = await run(cwd, 'evaluate', 'disc', ...SMALL, '--mask', file, '--json', '-');
      assert.match(stderr, /outside of the mask was not inspected/);
      return JSON.parse(stdout) as Evaluation;
    };
    assert.equal((await evaluated('mask-24.png')).image_auroc, 1);
    assert.equal((await evaluated('mask-72.png')).pixel_auroc, null, 'no defect lies where it was looked');
    refused(
      await run(cwd, 'fit', 'ring', 'disc', ...SMALL, '--mask', 'none.png', '--store', 'masked'),
      1,
      /none\.png cannot be read/
    );
  });
});
