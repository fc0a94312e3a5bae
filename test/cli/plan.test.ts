import assert from 'node:assert/strict';
import type { FitPlan } from '../../lib/engine';
import { put, part, scratch } from '../support';
import { refused, run, SMALL } from './run';
import path from 'node:path';

describe('goodparts plan', () => {
  const folder = scratch();

  it('prints what a fit will take, for people and as JSON', async () => {
    const args = ['plan', '--images', '50', '--bank', '100', ...SMALL];
    const { code, stdout, stderr } = await run(folder, ...args, '--picture', '96x64');
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /50 pictures at 64 x 64, 100 of 3200 patches kept/);
    for (const line of [/time of the fit +[\d.]+ s/, /memory while fitting +\d+ MB/, /detector on disk +[\d.]+ MB/])
      assert.match(stdout, line);
    put(path.join(folder, 'part.png'), await part());
    const json = await run(folder, ...args, '--picture', 'part.png', '--json');
    const plan = JSON.parse(json.stdout) as FitPlan;
    assert.deepEqual([plan.images, plan.bankSize, plan.device.used], [50, 100, 'cpu']);
  });

  it('says that a fit would be refused, and refuses it', async () => {
    const tight = ['--max-memory', '40', ...SMALL];
    const { code, stdout } = await run(folder, 'plan', '--images', '5', ...tight);
    assert.equal(code, 1);
    assert.match(stdout, /\nrefused: This fit would need \d+ MB of memory, and 40 MB is the most/);
    put(path.join(folder, 'good/1.png'), await part());
    refused(await run(folder, 'fit', 'part', 'good', ...tight), 1, /This fit would need \d+ MB of memory/);
  });

  it('says what is wrong with a request', async () => {
    refused(await run(folder, 'plan'), 2, /give the number of good pictures with --images/);
    refused(await run(folder, 'plan', '--images', '0'), 2, /--images takes a whole number from 1/);
    refused(await run(folder, 'plan', '--images', '5', '--memory', '0'), 2, /memoryLimit must be a whole number of MB/);
    refused(await run(folder, 'plan', '--images', '5', '--picture', 'none.png'), 1, /none\.png cannot be read/);
  });
});
