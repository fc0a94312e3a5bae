import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { GoodpartsError, type FitProgress, type ScoreResult } from '../../lib/engine';
import { DetectorStore } from '../../lib/engine/store';
import { EngineClient, FitClient } from '../../lib/host';
import { backOff, FIT_MALLOC } from '../../lib/host/supervisor';
import { alive, clientOptions, fitted, part, parts, SMALL, until } from '../nodes/helper';
import { scratch } from '../support';

const host = path.join(__dirname, '../../lib/host');
const score = (entry: ScoreResult | Error): ScoreResult => {
  if (entry instanceof Error) throw entry;
  return entry;
};

describe('The engine process', () => {
  let store: string;
  let client: EngineClient;
  const log: string[] = [];
  before(async () => {
    store = scratch();
    await fitted(store, 'screw');
    client = new EngineClient(clientOptions(store, log));
  });
  after(() => client.close());

  it('scores in a process of its own', async () => {
    const [good, bad] = (await client.score('screw', [await part(50), await part(51, true)])).map(score);
    assert.notEqual(client.pid, process.pid);
    assert.ok(bad.score > 1.5 * good.score, `${bad.score} against ${good.score}`);
    assert.deepEqual(good.detector, { name: 'screw', version: 'v1' });
    const { data, width, height } = bad.map!;
    assert.ok(Buffer.isBuffer(data));
    assert.equal(new Float32Array(data.buffer, data.byteOffset, width * height).length * 4, data.length);
  });

  it('passes errors on with code, message and details; one bad image does not spoil the batch', async () => {
    await assert.rejects(client.score('nothing', [await part(1)]), (error: GoodpartsError) => {
      assert.ok(error instanceof GoodpartsError);
      assert.equal(error.code, 'detector-unknown');
      assert.deepEqual(error.details, { name: 'nothing' });
      return true;
    });
    const [good, bad] = await client.score('screw', [await part(2), Buffer.from('no image')]);
    assert.ok(!(good instanceof Error));
    assert.ok(bad instanceof GoodpartsError && bad.code.startsWith('image-'), String(bad));
  });

  it('leaves ONNX Runtime and sharp out of the process that uses it', () => {
    const files = ['../red/scorer', '../red/fitter', '../red/admin', '../red/model'].map(file => path.join(host, file));
    const script = `${JSON.stringify(files)}.forEach(require); console.log(Object.keys(require.cache).join())`;
    const { stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
    assert.match(stdout, /client\.js/);
    assert.doesNotMatch(stdout, /onnxruntime|sharp/);
  });

  it('answers every score when it is killed under load', async () => {
    const image = await part(3);
    await client.score('screw', [image]);
    const before = client.pid!;
    const answers = Array.from({ length: 20 }, () => client.score('screw', [image]));
    await answers[2];
    process.kill(before, 'SIGKILL');
    const scores = (await Promise.all(answers)).map(([entry]) => score(entry).score);
    assert.deepEqual(new Set(scores).size, 1);
    assert.notEqual(client.pid, before);
    assert.match(log.at(-1)!, /stopped: signal SIGKILL/);
  });

  it('survives a segmentation fault too', async () => {
    const answers = Array.from({ length: 5 }, async (_, i) => client.score('screw', [await part(i + 1)]));
    process.kill(client.pid!, 'SIGSEGV');
    for (const [entry] of await Promise.all(answers)) score(entry);
  });

  it('does not mistake a detector that was deleted and fitted anew for the old one', async () => {
    const image = await part(60);
    await fitted(store, 'anew', 1);
    const [old] = (await client.score('anew', [image])).map(score);
    await client.delete('anew');
    await assert.rejects(client.score('anew', [image]), { code: 'detector-unknown' });
    await fitted(store, 'anew', 4);
    const [anew] = (await client.score('anew', [image])).map(score);
    assert.deepEqual(anew.detector, old.detector);
    assert.notEqual(anew.score, old.score);
  });

  it('gives up on a call that kills the process twice, and works on', async () => {
    const killEach = client.onState(state => state === 'ready' && process.kill(client.pid!, 'SIGKILL'));
    process.kill(client.pid!, 'SIGKILL');
    await assert.rejects(client.score('screw', [await part(4)]), { code: 'engine-stopped' });
    killEach();
    score((await client.score('screw', [await part(4)]))[0]);
  });

  it('gives a call up after its time', async () => {
    const hasty = new EngineClient({ ...clientOptions(store), timeout: 1 });
    await assert.rejects(hasty.score('screw', [await part(5)]), { code: 'engine-timeout' });
    await hasty.close();
    score((await client.score('screw', [await part(5)]))[0]);
  });

  it('kills a process that is stuck', async () => {
    const hasty = new EngineClient({ ...clientOptions(store), timeout: 500 });
    await client.list();
    const { pid } = client;
    process.kill(pid!, 'SIGSTOP');
    await assert.rejects(hasty.score('screw', [await part(6)]), { code: 'engine-timeout' });
    await until(() => !alive(pid!), 'the stuck process is gone');
    await hasty.close();
  });

  it('is shared by the clients of a device and ends with the last', async () => {
    const other = new EngineClient(clientOptions(scratch()));
    assert.deepEqual(await other.list(), []);
    assert.equal(other.pid, client.pid);
    await other.close();
    await other.close();
    score((await client.score('screw', [await part(7)]))[0]);
    const { pid } = client;
    const pending = client.score('screw', [await part(8)]);
    const rejected = assert.rejects(pending, { code: 'engine-stopped' });
    await client.close();
    await rejected;
    assert.equal(alive(pid!), false);
    await assert.rejects(client.list(), { code: 'engine-stopped' });
    client = new EngineClient(clientOptions(store, log));
  });

  for (const end of ['process.exit()', "process.kill(process.pid, 'SIGKILL')"])
    it(`ends with its parent: ${end}`, async () => {
      const options = `{engine: {store: ${JSON.stringify(store)}, device: 'cpu'}, timeout: 9000, log() {}}`;
      const script = `const {EngineClient} = require(${JSON.stringify(host)});
        const client = new EngineClient(${options});
        client.list().then(() => { console.log(client.pid); setTimeout(() => ${end}, 100) })`;
      const parent = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
      const [text] = (await once(parent.stdout, 'data')) as [Buffer];
      const pid = Number(text.toString());
      assert.ok(alive(pid));
      await once(parent, 'exit');
      await until(() => !alive(pid), 'no orphan');
    });

  it('waits longer after each death in a row', () => {
    assert.deepEqual([1, 2, 3, 4, 20].map(backOff), [0, 250, 500, 1000, 30_000]);
  });
});

describe('A fit in its own process', () => {
  let store: string;
  before(() => void (store = scratch()));

  it('reports progress, fits, and ends its process', async () => {
    const stages = new Set<string>();
    const hooks = { onProgress: ({ stage }: { stage: string }) => void stages.add(stage) };
    const fit = await FitClient.start(clientOptions(store), 'nut', SMALL, hooks);
    const { pid } = fit;
    for (const [i, image] of (await parts(3)).entries()) assert.equal(await fit.add(image), i + 1);
    await assert.rejects(fit.add(Buffer.from('no image')), (error: GoodpartsError) => error.code.startsWith('image-'));
    const result = await fit.finish();
    assert.deepEqual([result.version, result.images], ['v1', 3]);
    assert.deepEqual([...stages], ['images', 'coreset', 'calibration', 'save']);
    assert.equal(alive(pid!), false);
  });

  it('says when its settings cannot be used, and leaves no process', async () => {
    const start = FitClient.start(clientOptions(store), 'nut', { backbone: '/nowhere/net.onnx' });
    await assert.rejects(start, (error: GoodpartsError) => error.code.startsWith('backbone-'));
  });

  it('has malloc give memory back, unless the user set it; scoring keeps it', async function () {
    if (process.platform !== 'linux') return this.skip(); // what a process was given is read from /proc
    const given = (pid: number): Record<string, string> => {
      const entries = fs.readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
      return Object.fromEntries(entries.filter(e => e.startsWith('MALLOC_')).map(e => e.split('=')));
    };
    process.env.MALLOC_ARENA_MAX = '3';
    const client = new EngineClient(clientOptions(store));
    try {
      const fit = await FitClient.start(clientOptions(store), 'nut', SMALL);
      assert.deepEqual(given(fit.pid!), { ...FIT_MALLOC, MALLOC_ARENA_MAX: '3' });
      await fit.abort();
      await client.device();
      assert.deepEqual(given(client.pid!), { MALLOC_ARENA_MAX: '3' });
    } finally {
      delete process.env.MALLOC_ARENA_MAX;
      await client.close();
    }
  });

  for (const when of ['adding', 'finishing'])
    it(`loses the fit and nothing else when killed while ${when}`, async () => {
      const before = await new DetectorStore(store).list();
      const fit = await FitClient.start(clientOptions(store), 'nut', SMALL);
      await fit.add(await part(1));
      const pending = when === 'adding' ? fit.add(await part(2)) : fit.finish();
      process.kill(fit.pid!, 'SIGKILL');
      await assert.rejects(pending, (error: GoodpartsError) => {
        assert.equal(error.code, 'engine-stopped');
        assert.match(error.message, /send the images again/);
        return true;
      });
      await assert.rejects(fit.add(await part(3)), { code: 'engine-stopped' });
      await fit.gone;
      assert.deepEqual(await new DetectorStore(store).list(), before);
    });

  it('gives up a fit that hangs', async function () {
    if (process.platform === 'win32') return this.skip(); // no signal there stops a process for a while
    const options = { ...clientOptions(store), silence: 5000 };
    let hung = false;
    const hang = ({ stage }: FitProgress): void => {
      if (stage === 'coreset') hung = process.kill(fit.pid!, 'SIGSTOP');
    };
    const fit = await FitClient.start(options, 'washer', SMALL, { onProgress: hang });
    const { pid } = fit;
    for (const image of await parts(3)) await fit.add(image);
    await assert.rejects(fit.finish(), (error: GoodpartsError) => {
      assert.equal(error.code, 'engine-timeout');
      assert.match(error.message, /'washer' hung and was ended: send the images again.* no sign of life for 5 s/);
      return true;
    });
    assert.ok(hung);
    assert.equal(alive(pid!), false);
    await assert.rejects(new DetectorStore(store).current('washer'), { code: 'detector-unknown' });
  });

  it('ends a fit that hangs over an image', async function () {
    if (process.platform === 'win32') return this.skip();
    const fit = await FitClient.start({ ...clientOptions(store), timeout: 3000 }, 'nut', SMALL);
    const { pid } = fit;
    await fit.add(await part(1));
    process.kill(pid!, 'SIGSTOP');
    await assert.rejects(fit.add(await part(2)), (error: GoodpartsError) => {
      assert.equal(error.code, 'engine-timeout');
      assert.match(
        error.message,
        /'nut' hung and was ended: send the images again.* within 3 s.* raise the time limit/
      );
      return true;
    });
    assert.equal(alive(pid!), false);
    await assert.rejects(fit.add(await part(3)), { code: 'engine-stopped' });
  });

  it('waits for a training that was told to pause, and says how to go on with one that hung', async function () {
    if (process.platform === 'win32') return this.skip();
    this.timeout(120_000);
    const options = { ...clientOptions(store), silence: 4000 };
    let paused = false;
    const onProgress = ({ training }: FitProgress): void => void (paused = training?.paused ?? false);
    const settings = { ...SMALL, method: 'autoencoder', epochs: 2000 } as const;
    const fit = await FitClient.start(options, 'ring', settings, { onProgress });
    for (const image of await parts(6)) await fit.add(image);
    let ended = false;
    const finished = assert.rejects(
      fit.finish().finally(() => (ended = true)),
      (error: GoodpartsError) => {
        assert.equal(error.code, 'engine-timeout');
        assert.match(error.message, /training of 'ring' hung and was ended: send msg\.resume/);
        return true;
      }
    );
    await fit.pause(true);
    await until(() => paused, 'the pause', 60_000);
    await new Promise(resolve => setTimeout(resolve, 2 * options.silence));
    assert.equal(ended, false);
    process.kill(fit.pid!, 'SIGSTOP');
    await finished;
  });

  it('saves nothing when aborted', async () => {
    const fit = await FitClient.start(clientOptions(store), 'bolt', SMALL);
    await fit.add(await part(1));
    const pending = assert.rejects(fit.finish(), { code: 'fit-aborted' });
    await fit.abort();
    await pending;
    assert.equal(alive(fit.pid ?? 0) && fit.pid !== undefined, false);
    await assert.rejects(new DetectorStore(store).current('bolt'), { code: 'detector-unknown' });
  });

  it('lets scoring go on, which takes up the new version by itself', async () => {
    const client = new EngineClient(clientOptions(store));
    const image = await part(9);
    const fit = await FitClient.start(clientOptions(store), 'nut', SMALL);
    for (const good of await parts(4, 20)) await fit.add(good);
    const versions = [score((await client.score('nut', [image]))[0]).detector.version];
    let done = false;
    const finishing = fit.finish().finally(() => (done = true));
    while (!done) versions.push(score((await client.score('nut', [image]))[0]).detector.version);
    assert.equal((await finishing).version, 'v2');
    versions.push(score((await client.score('nut', [image]))[0]).detector.version);
    assert.equal(versions[0], 'v1');
    assert.equal(versions.at(-1), 'v2');
    assert.deepEqual(versions, [...versions].sort(), 'old, then new, never back');
    await client.close();
  });
});
