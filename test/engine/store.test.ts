import assert from 'node:assert/strict';
import { execFileSync, fork } from 'node:child_process';
import fs from 'node:fs';
import fsp from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Engine, GoodpartsError, type PatchCoreInfo } from '../../lib/engine';
import { checkName, DetectorStore, type StoredDetector } from '../../lib/engine/store';
import { part, parts, put, scratch, SMALL } from '../support';
import { bank, INFO } from './store-writer';

const code = (expected: string) => (error: unknown) => {
  assert.ok(error instanceof GoodpartsError, String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};

/** Runs `body` while one function of the file system fails: what a busy file or a full disk does, on any machine. */
async function failing<T>(what: 'rm' | 'rename', errno: string, body: () => Promise<T>): Promise<T> {
  const real = fsp[what];
  fsp[what] = () => Promise.reject(Object.assign(new Error(errno), { code: errno }));
  try {
    return await body();
  } finally {
    Object.assign(fsp, { [what]: real });
  }
}

describe('detector store', () => {
  it('saves versions, keeps some for rollback, switches and deletes', async () => {
    const store = new DetectorStore(scratch(), 3);
    for (const version of ['v1', 'v2', 'v3', 'v4', 'v5']) assert.equal(await store.save(INFO, bank()), version);
    assert.deepEqual(await store.versions('part'), ['v3', 'v4', 'v5']);
    assert.equal(await store.current('part'), 'v5');
    await store.activate('part', 'v4');
    assert.equal(await store.current('part'), 'v4');
    assert.deepEqual(
      (await store.list()).map(d => [d.version, d.current]),
      [
        ['v5', false],
        ['v4', true],
        ['v3', false]
      ]
    );
    await assert.rejects(store.delete('part', 'v4'), code('store-write'));
    await store.delete('part', 'v3');
    await assert.rejects(store.activate('part', 'v3'), code('detector-unknown'));
    assert.equal(await store.save(INFO, bank()), 'v6');
    await store.delete('part');
    await assert.rejects(store.current('part'), code('detector-unknown'));
    assert.deepEqual(await store.list(), []);
  });

  it('never takes a name or a version for a path', async () => {
    const store = new DetectorStore(scratch());
    for (const name of ['', '.', '..', '../x', 'a/b', 'a\\b', 'x'.repeat(65), 'a b', 'ü', null, 5])
      assert.throws(() => checkName(name), code('name-invalid'));
    await assert.rejects(store.current('../x'), code('name-invalid'));
    await store.save(INFO, bank());
    await assert.rejects(store.read('part', '../../etc'), code('detector-unknown'));
  });

  it('names the damaged file and the version before it', async () => {
    const folder = scratch();
    const store = new DetectorStore(folder);
    await store.save(INFO, bank());
    await store.save(INFO, bank());
    const file = path.join(folder, 'part', 'v2', 'bank.npy');
    const whole = fs.readFileSync(file);
    const damage: (() => void)[] = [
      () => fs.writeFileSync(file, whole.subarray(0, 50)),
      () => fs.writeFileSync(file, Buffer.from(whole).fill(7, whole.length - 1)),
      () => fs.rmSync(file)
    ];
    for (const hurt of damage) {
      hurt();
      await assert.rejects(store.read('part', 'v2'), error => {
        code('detector-damaged')(error);
        assert.match((error as Error).message, /bank\.npy.*Version v1 is still there/);
        assert.equal((error as GoodpartsError).details.previous, 'v1');
        return true;
      });
    }
    assert.equal((await store.read('part', 'v1')).arrays.bank.data.length, 6);
  });

  it('names the file current where it is damaged, and the newest version', async () => {
    const folder = scratch();
    const store = new DetectorStore(folder);
    for (let i = 0; i < 2; i++) await store.save(INFO, bank());
    const file = path.join(folder, 'part', 'current');
    const says = (error: unknown): boolean => {
      code('detector-damaged')(error);
      assert.match((error as Error).message, /the file current .*Version v2 is still there: make it current/);
      assert.deepEqual((error as GoodpartsError).details, { name: 'part', file: 'current', previous: 'v2' });
      return true;
    };
    for (const hurt of ['', 'v7\n', '../v1', null]) {
      if (hurt === null) fs.rmSync(file);
      else fs.writeFileSync(file, hurt);
      await assert.rejects(store.current('part'), says);
      await assert.rejects(store.info('part'), says);
      await assert.rejects(new Engine({ store: folder }).load('part'), says);
    }
    assert.deepEqual(
      (await store.list()).map(d => [d.version, d.current]),
      [
        ['v2', false],
        ['v1', false]
      ]
    );
    await store.activate('part', 'v2');
    assert.equal(await store.current('part'), 'v2');
    fs.rmSync(file);
    await store.delete('part');
    await assert.rejects(store.current('part'), code('detector-unknown'));
  });

  it('refuses a version that is incomplete or does not fit together', async () => {
    const folder = scratch();
    const store = new DetectorStore(folder);
    await store.save(INFO, bank());
    const names = (file: string) => (error: unknown) => {
      code('detector-damaged')(error);
      assert.deepEqual((error as GoodpartsError).details, { name: 'part', version: 'v1', file, previous: null });
      return true;
    };
    const sums = path.join(folder, 'part', 'v1', 'SHA256SUMS');
    const whole = fs.readFileSync(sums, 'utf8');
    for (const key of Object.keys(bank())) {
      fs.writeFileSync(sums, whole.replace(new RegExp(`^.*${key}\\.npy\n`, 'm'), ''));
      await assert.rejects(store.read('part', 'v1'), names('SHA256SUMS'), key);
    }
    fs.writeFileSync(sums, whole);
    assert.equal(((await store.read('part', 'v1')).info as PatchCoreInfo).bankSize, 2);

    const info = path.join(folder, 'part', 'v1', 'detector.json');
    for (const text of ['{', 'null', '{}', '']) {
      fs.writeFileSync(info, text);
      await assert.rejects(store.info('part', 'v1'), names('detector.json'), text);
    }
  });

  it('refuses arrays of another shape than detector.json says', async () => {
    const store = new DetectorStore(scratch());
    const wrong: [string, Partial<typeof INFO>, ReturnType<typeof bank>][] = [
      ['bank.npy', { bankSize: 3 }, {}],
      ['bank.npy', { dimensions: 2 }, {}],
      ['bank.npy', {}, { bank: { data: new Uint8Array(6), shape: [2, 3] } }],
      ['bank-origin.npy', {}, { 'bank-origin': { data: new Int32Array(3), shape: [3] } }],
      ['selftest-image.npy', {}, { 'selftest-image': { data: new Uint8Array(12), shape: [12] } }],
      ['selftest-map.npy', {}, { 'selftest-map': { data: new Float32Array(4), shape: [2, 2] } }]
    ];
    for (const [file, info, arrays] of wrong) {
      const version = await store.save({ ...INFO, ...info }, { ...bank(), ...arrays });
      await assert.rejects(store.read('part', version), error => {
        code('detector-damaged')(error);
        assert.equal((error as GoodpartsError).details.file, file);
        return true;
      });
    }
  });

  it('is readable with sha256sum and numpy', async function () {
    const folder = scratch();
    await new DetectorStore(folder).save(INFO, bank());
    const version = path.join(folder, 'part', 'v1');
    assert.match(execFileSync('sha256sum', ['-c', 'SHA256SUMS'], { cwd: version, encoding: 'utf8' }), /bank\.npy: OK/);
    const python = 'import numpy; b = numpy.load("bank.npy"); print(b.dtype, b.shape, b.sum())';
    let said: string;
    try {
      said = execFileSync('python3', ['-c', python], {
        cwd: version,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore']
      });
    } catch {
      console.log('      numpy is not installed here: only the checksums were compared');
      return;
    }
    assert.equal(said.trim(), 'float32 (2, 3) 3.0');
  });

  it('has the old version or the new one after a kill at any moment', async () => {
    const folder = scratch();
    const store = new DetectorStore(folder, 3);
    await store.save({ ...INFO, bankSize: 3000 }, bank(3000));
    let highest = 1;
    for (let round = 0; round < 12; round++) {
      const writer = fork(path.join(__dirname, 'store-writer.js'), [folder], { stdio: 'ignore' });
      await new Promise(resolve => writer.once('message', resolve));
      await sleep(round * 7);
      const gone = new Promise(resolve => writer.once('exit', resolve));
      writer.kill('SIGKILL');
      await gone;
      const version = await store.current('part');
      const { info, arrays } = await store.read('part', version);
      assert.equal(arrays.bank.data.length, 3000 * 3);
      assert.equal(info.current, true);
      highest = Math.max(highest, Number(version.slice(1)));
    }
    assert.ok(highest > 1, 'at least one version must have been written between the kills');
  });

  it('keeps the old version when the disk is full', async function () {
    const folder = scratch();
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder], { stdio: 'ignore' });
    } catch {
      console.log('      skipped: a small disk cannot be mounted here');
      return this.skip();
    }
    try {
      const store = new DetectorStore(folder);
      await store.save(INFO, bank());
      await assert.rejects(store.save(INFO, bank(100000)), code('store-write'));
      assert.equal(await store.current('part'), 'v1');
      assert.deepEqual(fs.readdirSync(path.join(folder, 'part')).sort(), ['current', 'v1']);
      assert.equal((await store.read('part', 'v1')).arrays.bank.data.length, 6);
    } finally {
      execFileSync('umount', [folder]);
    }
  });

  it('has saved the new version even where an old one cannot be removed', async () => {
    const folder = scratch();
    const store = new DetectorStore(folder, 1);
    await store.save(INFO, bank());
    assert.equal(await failing('rm', 'EBUSY', () => store.save(INFO, bank())), 'v2');
    assert.equal(await store.current('part'), 'v2');
    assert.deepEqual(await store.versions('part'), ['v1', 'v2']);
    assert.equal(await store.save(INFO, bank()), 'v3');
    assert.deepEqual(await store.versions('part'), ['v3']);
  });

  it('is as before when the new version cannot be made the current one', async () => {
    const folder = scratch();
    const store = new DetectorStore(folder);
    await store.save(INFO, bank());
    const current = path.join(folder, 'part', 'current');
    fs.rmSync(current);
    put(path.join(current, 'in the way')); // a folder, over which no file is renamed
    await assert.rejects(store.save(INFO, bank()), error => {
      code('store-write')(error);
      assert.doesNotMatch((error as Error).message, /stays in use/);
      return true;
    });
    assert.deepEqual(fs.readdirSync(path.join(folder, 'part')).sort(), ['current', 'v1']);
  });

  it('says that it cannot be written before a fit, and which version stays in use', async () => {
    const folder = scratch();
    put(path.join(folder, 'file'));
    const none = new Engine({ store: path.join(folder, 'file', 'store') });
    await assert.rejects(none.startFit('part', SMALL), error => {
      code('store-write')(error);
      assert.match((error as Error).message, /cannot be saved in .*ENOTDIR/);
      assert.doesNotMatch((error as Error).message, /stays in use/);
      return true;
    });
    await assert.rejects(new Engine({ store: folder }).startFit('file', SMALL), code('store-write'));

    const store = new DetectorStore(folder);
    await store.save(INFO, bank());
    await assert.rejects(
      failing('rename', 'EROFS', () => store.save(INFO, bank())),
      /EROFS\. The previous version, v1, stays in use\.$/
    );
    assert.deepEqual(fs.readdirSync(path.join(folder, 'part')).sort(), ['current', 'v1']);
  });

  it('swaps a new version in under scoring, and refuses a damaged or foreign one', async () => {
    const folder = scratch();
    const engine = new Engine({ store: folder });
    const versionOf = async () => {
      const [entry] = await engine.score('part', [await part()]);
      if (entry instanceof GoodpartsError) throw entry;
      return entry.detector.version;
    };
    await engine.fit('part', await parts(3), SMALL);
    assert.equal(await versionOf(), 'v1');
    await new Engine({ store: folder }).fit('part', await parts(4), SMALL); // another process of the plant
    assert.equal(await versionOf(), 'v2');
    await engine.activate('part', 'v1');
    assert.equal(await versionOf(), 'v1');

    await engine.fit('part', await parts(3), SMALL);
    fs.appendFileSync(path.join(folder, 'part', 'v3', 'bank.npy'), 'x');
    await assert.rejects(versionOf(), code('detector-damaged'));
  });

  it('refuses a detector whose self-test says otherwise on this device', async () => {
    const folder = scratch();
    const engine = new Engine({ store: folder });
    await engine.fit('part', await parts(3), SMALL);
    const store = new DetectorStore(folder);
    const { info, arrays } = (await store.read('part', 'v1')) as StoredDetector<'patchcore'>;
    await store.save({ ...info, selfTest: { score: info.selfTest.score * 1.01 } }, arrays);
    await assert.rejects(engine.load('part'), code('detector-parity'));
    await store.save({ ...info, backboneSha256: '0'.repeat(64) }, arrays);
    await assert.rejects(engine.load('part'), code('detector-backbone'));
    assert.equal((await engine.load('part', 'v1')).version, 'v1');
  });

  it('loads a detector by its kind', async () => {
    const engine = new Engine({ store: scratch() });
    await engine.fit('part', await parts(3), SMALL);
    const store = new DetectorStore(engine.options.store);
    const { info, arrays } = (await store.read('part', 'v1')) as StoredDetector<'patchcore'>;
    assert.equal(info.kind, 'patchcore');
    // JSON leaves out what is undefined: a version that was saved before there were kinds
    await store.save({ ...info, kind: undefined }, arrays);
    assert.equal((await engine.load('part', 'v2')).kind, undefined);
    await store.save({ ...info, kind: 'of tomorrow' as 'patchcore' }, arrays);
    assert.equal((await engine.list()).length, 3);
    await assert.rejects(engine.load('part', 'v3'), code('detector-kind'));
  });
});
