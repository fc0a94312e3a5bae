import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { Engine } from '../../lib/engine';
import { part, parts, put, ROOT, scratch, shared } from '../support';
import { refused, run, SMALL, writeClass } from './run';

describe('goodparts export and import', function () {
  this.timeout(120_000);
  const cwd = scratch();
  const at = (...names: string[]) => path.join(cwd, ...names);
  before(async () => {
    await writeClass(at('disc'));
    assert.equal((await run(cwd, 'fit', 'disc', 'disc', ...SMALL)).code, 0);
    assert.equal((await run(cwd, 'fit', 'disc', 'disc', ...SMALL, '--seed', '1')).code, 0);
  });

  const scoreOf = async (store: string, name: string): Promise<number> => {
    const { stdout } = await run(cwd, 'score', name, 'disc/test/hole/0.jpg', '--store', store, '--json');
    return (JSON.parse(stdout) as { score: number }).score;
  };

  it('takes a detector to another store, where it scores the same', async () => {
    const { code, stdout, stderr } = await run(cwd, 'export', 'disc', '--bundle', 'disc.tgz');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^disc\.tgz: disc v2, \d+\.\d MB\n$/);
    assert.deepEqual(await run(cwd, 'import', 'disc.tgz', '--store', 'plant'), {
      code: 0,
      stdout: 'disc v1, fitted from 6 good images, is in use\n',
      stderr: ''
    });
    assert.equal(await scoreOf('plant', 'disc'), await scoreOf('goodparts', 'disc'));
    const [info] = await new Engine({ store: at('plant') }).list();
    assert.deepEqual(info.imported, { name: 'disc', version: 'v2' });
  });

  it('adds a version to a detector that is there, or takes another name', async () => {
    const { stdout } = await run(cwd, 'import', 'disc.tgz', '--store', 'plant');
    assert.match(stdout, /^disc v2,/);
    assert.match((await run(cwd, 'import', 'disc.tgz', '--store', 'plant', '--as', 'round')).stdout, /^round v1,/);
    refused(
      await run(cwd, 'import', 'disc.tgz', '--store', 'plant', '--as', '../x'),
      2,
      /"\.\.\/x" is no detector name/
    );
  });

  it('brings the backbone along', async function () {
    const backbone = shared(this, 'weights/squeezenet11_full.onnx');
    const engine = new Engine({ store: at('goodparts'), device: 'cpu' });
    await engine.fit('own', await parts(4), { backbone, inputWidth: 64, inputHeight: 64 });
    await engine.close();
    await run(cwd, 'export', 'own', '--bundle', 'own.tgz');
    assert.equal((await run(cwd, 'import', 'own.tgz', '--store', 'far')).code, 0);
    const [{ settings }] = await new Engine({ store: at('far') }).list();
    assert.equal(settings.backbone, 'squeezenet11_full');
    assert.equal(await scoreOf('far', 'own'), await scoreOf('goodparts', 'own'));
  });

  it('refuses what is no bundle, or a changed one, and keeps nothing of it', async () => {
    put(at('text.tgz'), 'hello');
    put(at('zip.tgz'), gzipSync(Buffer.alloc(700, 'x')));
    const whole = fs.readFileSync(at('disc.tgz'));
    put(at('short.tgz'), whole.subarray(0, whole.length / 2));
    const wrong: [string, RegExp][] = [
      ['none.tgz', /There is no file none\.tgz/],
      ['text.tgz', /no bundle of a detector/],
      ['zip.tgz', /something else than the files of a detector/],
      ['short.tgz', /no bundle of a detector, or a damaged one/]
    ];
    for (const [file, says] of wrong) refused(await run(cwd, 'import', file, '--store', 'nowhere'), 1, says);
    assert.equal(fs.existsSync(at('nowhere')), false);
    assert.deepEqual(
      fs.readdirSync(at('tmp')).filter(name => name.startsWith('goodparts-bundle')),
      []
    );
  });

  it('refuses a name in the archive that leads elsewhere', async () => {
    const { default: zlib } = await import('node:zlib');
    const tar = zlib.gunzipSync(fs.readFileSync(at('disc.tgz')));
    const rename = (name: string): Buffer => {
      const copy = Buffer.from(tar);
      copy.fill(0, 0, 100);
      copy.write(name, 0);
      copy.write('        ', 148);
      const sum = copy.subarray(0, 512).reduce((a, b) => a + b, 0);
      copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
      return zlib.gzipSync(copy);
    };
    for (const name of ['../evil/v1/bank.npy', '/tmp/evil', 'disc/../../evil', 'a/b/c/d/e/f']) {
      put(at('evil.tgz'), rename(name));
      refused(await run(cwd, 'import', 'evil.tgz', '--store', 'nowhere'), 1, /something else than the files/);
    }
  });

  it('carries a detector network, which is an ONNX file already', async () => {
    const network = path.join(ROOT, 'test/fixtures/detectors/padim/model.onnx');
    assert.match(
      (await run(cwd, 'fit', 'net', 'disc', '--network', network)).stdout,
      /6 good pictures, network calibrated/
    );
    assert.equal((await run(cwd, 'export', 'net', '--bundle', 'net.tgz')).code, 0);
    assert.equal((await run(cwd, 'import', 'net.tgz', '--store', 'there')).code, 0);
    assert.equal(await scoreOf('there', 'net'), await scoreOf('goodparts', 'net'));
    assert.match((await run(cwd, 'list', '--store', 'there')).stdout, /model\.onnx +anomalib +96x64/);
    refused(await run(cwd, 'export', 'net', '--onnx', 'net.onnx'), 1, /is an ONNX file already/);
  });

  it('writes one ONNX file', async () => {
    const { code, stdout } = await run(cwd, 'export', 'disc', '--onnx', 'out/disc.onnx', '--threshold', '3sigma');
    assert.equal(code, 0);
    assert.match(stdout, /^out\/disc\.onnx: disc, \d+\.\d MB\n$/);
    const ort = await import('onnxruntime-node');
    const session = await ort.InferenceSession.create(at('out/disc.onnx'), { logSeverityLevel: 3 });
    assert.deepEqual(session.outputNames, ['score', 'map', 'anomalous']);
    refused(await run(cwd, 'export', 'disc'), 2, /export takes --onnx FILE or --bundle FILE/);
    refused(await run(cwd, 'export', 'no-such', '--onnx', 'x.onnx'), 1, /no detector "no-such"/);
    put(at('part.png'), await part());
    refused(await run(cwd, 'export', 'disc', '--onnx', 'part.png/x.onnx'), 1, /cannot be written/);
  });
});
