import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Engine } from '../../lib/engine';
import type { Evaluation } from '../../lib/evaluate';
import { residualNet, written } from '../engine/networks';
import { scratch } from '../support';
import { refused, run, SMALL, writeClass } from './run';

describe('a second backbone on the command line', function () {
  this.timeout(120_000);
  const cwd = scratch();
  // two files of one name
  const backbones = [residualNet(), residualNet(64, 64)].map(net => written(net.model));
  const BOTH = ['--backbone', backbones[0], '--second-backbone', backbones[1]];
  before(() => writeClass(path.join(cwd, 'disc')));

  const scoreOf = async (store: string): Promise<number> => {
    const { stdout } = await run(cwd, 'score', 'two', 'disc/test/hole/0.jpg', '--store', store, '--json');
    return (JSON.parse(stdout) as { score: number }).score;
  };

  it('is fitted, listed, and taken to another plant with the first one', async () => {
    const { code, stderr } = await run(cwd, 'fit', 'two', 'disc', ...BOTH, '--second-weight', '0.5', ...SMALL);
    assert.equal(code, 0, stderr);
    assert.match((await run(cwd, 'list')).stdout, /net\.onnx \+ net\.onnx +anomalib/);
    refused(await run(cwd, 'export', 'two', '--onnx', 'two.onnx'), 1, /"two" has a second backbone/);
    assert.equal((await run(cwd, 'export', 'two', '--bundle', 'two.tgz')).code, 0);
    assert.equal((await run(cwd, 'import', 'two.tgz', '--store', 'plant')).code, 0);
    const here = await scoreOf('goodparts');
    for (const file of backbones) fs.rmSync(file);
    const [{ settings }] = await new Engine({ store: path.join(cwd, 'plant') }).list();
    assert.deepEqual([settings.backbone, settings.secondBackbone, settings.secondWeight], ['net', 'net-second', 0.5]);
    assert.equal(await scoreOf('plant'), here);
    refused(await run(cwd, 'models', 'remove', 'net-second', '--store', 'plant'), 1, /is needed by two/);
  });

  it('is evaluated and planned', async () => {
    const more = ['--backbone', 'net', '--second-backbone', 'net-second', '--store', 'plant', ...SMALL];
    const { stdout, stderr } = await run(cwd, 'evaluate', 'disc', '--json', '-', ...more);
    const { image_auroc: auroc, ...result } = JSON.parse(stdout || stderr) as Evaluation;
    assert.deepEqual([auroc, result.backbone, result.second_backbone], [1, 'net', 'net-second']);
    const plan = await run(cwd, 'plan', '--images', '50', '--bank', '100', ...more);
    assert.match(plan.stdout, /50 pictures at 64 x 64, 200 of 6400 patches kept/);
  });
});
