import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { importBackbone } from '../../lib/backbones/import';
import { listBackbones, removeBackbone } from '../../lib/backbones/shelf';
import { pullBackbone } from '../../lib/backbones/pull';
import { Engine, type PatchCoreInfo } from '../../lib/engine';
import { GoodpartsError } from '../../lib/engine/errors';
import { part, parts, put, ROOT, scratch, SMALL } from '../support';
import { closeServers, entry, give, NETWORK, serve, sumOf } from './server';

/** Another real network than the one of the catalogue: the same with its name changed. */
const OTHER = Buffer.concat([NETWORK, Buffer.from([0x12, 1, 0x78])]);
const refused = (code: string, says: RegExp) => (error: unknown) => {
  assert.ok(error instanceof GoodpartsError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, says);
  return true;
};

describe('library of backbones', () => {
  let store: string;
  before(async () => {
    const server = await serve((request, response) => give(request, response, NETWORK));
    const catalogue = path.join(scratch(), 'catalogue.json');
    const twin = entry([`${server.url}/model.onnx`], { id: 'twin', sha256: 'ab'.repeat(32), caveat: 'none' });
    put(catalogue, JSON.stringify({ caveats: { none: '-' }, catalogue: [entry([`${server.url}/net.onnx`]), twin] }));
    process.env.GOODPARTS_CATALOGUE = catalogue;
  });
  after(() => {
    delete process.env.GOODPARTS_CATALOGUE;
    closeServers();
  });
  beforeEach(() => (store = scratch()));

  const bring = (name: string, bytes: Uint8Array | string, options = {}) => {
    const file = path.join(scratch(), name);
    put(file, bytes);
    return importBackbone(file, store, options);
  };
  const states = async () => (await listBackbones(store)).map(({ id, state }) => `${id} ${state}`);
  const pull = async () => {
    const { readCatalogue } = await import('../../lib/engine/catalogue.js');
    return pullBackbone(readCatalogue().catalogue[0], store, { env: {} });
  };

  describe('import', () => {
    it('knows a file of the catalogue by its bytes, whatever it is called', async () => {
      const imported = await bring('from the stick (1).bin', NETWORK);
      assert.deepEqual([imported.id, imported.missing], ['net.v1', []]);
      assert.equal(imported.file, path.join(store, '@backbones/net.v1/net.onnx'));
      assert.deepEqual(await states(), ['net.v1 there', 'twin missing']);
      assert.deepEqual(fs.readdirSync(path.dirname(imported.file)), ['net.onnx']);
      await assert.rejects(
        bring('net.onnx', NETWORK, { id: 'mine' }),
        refused('backbone-import', /is the backbone net\.v1/)
      );
    });

    it('takes any other network under a name of its own', async () => {
      await bring('plant-7.onnx', OTHER);
      await bring('any file.onnx', OTHER, { id: 'Second_one' });
      assert.deepEqual((await states()).slice(2), ['Second_one there', 'plant-7 there']);
      const sums = fs.readFileSync(path.join(store, '@backbones/plant-7/SHA256SUMS'), 'utf8');
      assert.equal(sums, `${sumOf(OTHER)}  model.onnx\n`);
      await assert.rejects(
        bring('x.onnx', OTHER, { id: 'PLANT-7' }),
        refused('backbone-import', /There is a backbone plant-7/)
      );
    });

    it('says what a file is that is no network', async () => {
      const cases: [string, Uint8Array | string, RegExp][] = [
        ['net.onnx', 'version https://git-lfs.github.com/spec/v1\noid sha256:ab', /net\.onnx is a pointer of Git LFS/],
        ['a.onnx', '<!DOCTYPE html><html></html>', /a\.onnx is a web page/],
        ['a.onnx', 'just a text', /a\.onnx: This file is not an ONNX model/],
        ['a.onnx', '', /a\.onnx: This file is not an ONNX model/],
        ['a.onnx', NETWORK.subarray(0, 1e6), /a\.onnx: This file is not an ONNX model/],
        ['net.onnx', NETWORK.subarray(0, 1e6), /called like the backbone net\.v1 .* Copy it again/],
        ['net.onnx', OTHER, /called like the backbone net\.v1 .*, and not 1d78|called like the backbone net\.v1/]
      ];
      for (const [name, bytes, says] of cases)
        await assert.rejects(bring(name, bytes), refused('backbone-import', says));
      assert.deepEqual(await states(), ['net.v1 missing', 'twin missing']);
      await assert.rejects(importBackbone(store, store), refused('path-missing', /not a file|EISDIR/));
      await assert.rejects(importBackbone(path.join(store, 'no'), store), refused('path-missing', /ENOENT/));
    });

    it('lets no name be a path', async () => {
      for (const id of ['../x', 'a/b', '..', '', 'embedded', 'x.onnx', 'x'.repeat(65), 'a\\b'])
        await assert.rejects(bring('x.bin', OTHER, { id }), refused('name-invalid', /no name of a backbone/));
      await assert.rejects(bring('ä ö.onnx', OTHER), refused('backbone-import', /give it an id/));
      assert.ok(!fs.existsSync(path.join(store, '@backbones')));
    });
  });

  describe('in a detector', () => {
    it('is fitted and scored with by its id, wherever the store is', async () => {
      await pull();
      const engine = new Engine({ store, device: 'cpu' });
      await engine.fit('disc', await parts(3), { ...SMALL, backbone: 'net.v1' });
      const info = (await engine.load('disc')) as PatchCoreInfo;
      assert.deepEqual([info.settings.backbone, info.backboneSha256], ['net.v1', sumOf(NETWORK)]);
      await engine.close();
      const moved = path.join(scratch(), 'moved');
      fs.cpSync(store, moved, { recursive: true });
      const there = new Engine({ store: moved, device: 'cpu' });
      const [result] = await there.score('disc', [await part()]);
      assert.ok(!(result instanceof Error) && result.score >= 0);
      assert.deepEqual(
        (await there.list()).map(({ name }) => name),
        ['disc'],
        'the backbones are no detector'
      );
      await there.close();
    });

    it('that is imported gives what the embedded one gives', async () => {
      await bring('mine.onnx', OTHER);
      const engine = new Engine({ store, device: 'cpu' });
      const report = await engine.doctor({ name: 'x', settings: { backbone: 'mine', layers: ['layer2', 'layer3'] } });
      assert.deepEqual(
        report.checks.find(({ what }) => what === 'Backbone'),
        {
          what: 'Backbone',
          ok: true,
          detail: 'mine, layers layer2, layer3'
        }
      );
      await engine.close();
    });

    it('that is not there, says how to get it with and without internet', async () => {
      const engine = new Engine({ store, device: 'cpu' });
      const says = new RegExp(
        `net\\.onnx \\(6\\.3 MB, sha256 ${sumOf(NETWORK)}\\) is missing in .*@backbones.net\\.v1\\. ` +
          'With internet: goodparts models pull net\\.v1 --store .* Without: .*goodparts models import net\\.onnx --store '
      );
      await assert.rejects(engine.startFit('disc', { backbone: 'net.v1' }), refused('backbone-missing', says));
      await assert.rejects(
        engine.startFit('disc', { backbone: 'net.v2' }),
        refused('backbone-missing', /no backbone "net\.v2": it is neither in the catalogue, nor imported/)
      );
      await pull();
      await engine.fit('disc', [await part()], { ...SMALL, backbone: 'net.v1' });
      await engine.close();
      await removeBackbone('net.v1', store, true);
      const again = new Engine({ store, device: 'cpu' });
      await assert.rejects(again.score('disc', [await part()]), refused('backbone-missing', says));
      await again.close();
    });

    it('is put into its folder by hand just as well', async () => {
      put(path.join(store, '@backbones/net.v1/net.onnx'), NETWORK);
      const engine = new Engine({ store, device: 'cpu' });
      (await engine.startFit('disc', { ...SMALL, backbone: 'net.v1' })).abort();
      await engine.close();
    });

    it('that was changed is not used', async () => {
      const engine = new Engine({ store, device: 'cpu' });
      const changed = Buffer.from(NETWORK).fill(1, 5e6, 5e6 + 4);
      put(path.join(store, '@backbones/net.v1/net.onnx'), changed);
      await assert.rejects(
        engine.startFit('disc', { backbone: 'net.v1' }),
        refused('backbone-damaged', /not the file that it should be .* goodparts models pull net\.v1/)
      );
      const { file } = await bring('mine.onnx', OTHER);
      fs.writeFileSync(file, changed);
      await assert.rejects(
        engine.startFit('disc', { backbone: 'mine' }),
        refused('backbone-damaged', /Import it again/)
      );
      fs.truncateSync(path.join(store, '@backbones/net.v1/net.onnx'), 99);
      assert.deepEqual(await states(), ['net.v1 damaged', 'twin missing', 'mine there']);
      await engine.close();
    });
  });

  it('keeps a backbone that a detector needs, unless it is forced', async () => {
    await pull();
    const engine = new Engine({ store, device: 'cpu' });
    await engine.fit('disc', [await part()], { ...SMALL, backbone: 'net.v1' });
    await engine.close();
    await assert.rejects(removeBackbone('net.v1', store), refused('backbone-in-use', /needed by disc/));
    await removeBackbone('net.v1', store, true);
    assert.deepEqual(await states(), ['net.v1 missing', 'twin missing']);
    await assert.rejects(removeBackbone('net.v1', store), refused('backbone-missing', /no backbone net\.v1/));
    await assert.rejects(removeBackbone('../disc', store, true), refused('name-invalid', /no name/));
    assert.ok(fs.existsSync(path.join(store, 'disc')));
  });

  it('names nothing in the engine that reaches for a network', () => {
    for (const name of fs.readdirSync(path.join(ROOT, 'lib/engine'), { recursive: true }) as string[])
      if (name.endsWith('.ts'))
        assert.doesNotMatch(
          fs.readFileSync(path.join(ROOT, 'lib/engine', name), 'utf8'),
          /from '(node:)?(https?|net|tls|dgram|dns)'|\bfetch\(|from '[^']*backbones\//,
          name
        );
  });
});
