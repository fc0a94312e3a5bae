import assert from 'node:assert/strict';
import path from 'node:path';
import { put, ROOT, scratch } from '../support';
import { refused, run, SMALL, writeClass } from './run';

describe('goodparts models', () => {
  const cwd = scratch();
  before(() => writeClass(path.join(cwd, 'disc')));

  it('says what is not there, and how to get it', async () => {
    put(path.join(cwd, 'README.md'), '# no network');
    refused(await run(cwd, 'fit', 'a', 'disc', '--backbone', 'nothing'), 1, /no backbone "nothing"/);
    const offline = /resnet18\.tv1 is not on this machine: resnet18_Opset16\.onnx \(46\.7 MB, sha256 c1d4d6ca\w{56}\)/;
    refused(await run(cwd, 'fit', 'a', 'disc', '--backbone', 'resnet18.tv1'), 1, offline);
    refused(await run(cwd, 'models', 'pull', 'nothing'), 1, /no backbone "nothing" in the catalogue/);
    refused(await run(cwd, 'models', 'remove', 'nothing'), 1, /no backbone nothing in /);
    refused(await run(cwd, 'models', 'import', 'README.md'), 1, /README\.md: This file is not an ONNX model/);
  });

  it('brings in a backbone from a file, fits with it and keeps it as long as that', async () => {
    const network = path.join(ROOT, 'models/backbone.onnx');
    const store = ['--store', 'shelf'];
    const { stdout, stderr } = await run(cwd, 'models', 'import', network, '--id', 'mine', ...store);
    assert.match(stdout, /^mine: .*shelf.@backbones.mine.model\.onnx, sha256 [0-9a-f]{64}\n$/, stderr);
    const fitted = await run(cwd, 'fit', 'disc', 'disc', '--backbone', 'mine', ...SMALL, ...store);
    assert.equal(fitted.code, 0, fitted.stderr);
    assert.match((await run(cwd, 'models', 'list', ...store)).stdout, /^mine +6\.3 +imported +there$/m);
    refused(await run(cwd, 'models', 'remove', 'mine', ...store), 1, /needed by disc/);
    assert.equal((await run(cwd, 'models', 'remove', 'mine', '--force', ...store)).code, 0);
    refused(await run(cwd, 'score', 'disc', 'disc/test/good/0.png', ...store), 1, /no backbone "mine"/);
  });
});
