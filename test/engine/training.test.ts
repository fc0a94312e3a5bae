import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {
  Engine,
  GoodpartsError,
  percentile,
  type FitProgress,
  type FitSession,
  type FitSettings,
  type ScoreResult
} from '../../lib/engine';
import { interrupted } from '../../lib/engine/train/checkpoint';
import { relit } from '../../lib/engine/train/relit';
import { divided, epochsFor } from '../../lib/engine/train/training';
import { part, parts, scratch, SMALL } from '../support';

const AUTOENCODER: FitSettings = { ...SMALL, method: 'autoencoder', epochs: 40 };

const code = (expected: string) => (error: unknown) => {
  assert.ok(error instanceof GoodpartsError, String(error));
  assert.equal(error.code, expected);
  return true;
};

/** Good parts that were not learned, and the same with a defect. */
async function scores(engine: Engine, name: string): Promise<Record<'good' | 'bad', ScoreResult[]>> {
  const score = async (defect: boolean): Promise<ScoreResult[]> => {
    const found = await engine.score(name, await parts(6, { defect }));
    return found.map(entry => {
      if (entry instanceof GoodpartsError) throw entry;
      return entry;
    });
  };
  return { good: await score(false), bad: await score(true) };
}

async function addAll(session: FitSession, count: number): Promise<void> {
  for (let seed = 1; seed <= count; seed++) await session.add(await part({ seed }));
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 120_000;
  while (!condition()) {
    assert.ok(Date.now() < end, `timed out: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

describe('training', function () {
  this.timeout(300_000);

  it('an autoencoder learns good parts and tells a defect by score and place', async () => {
    const store = scratch();
    const engine = new Engine({ store, device: 'cpu' });
    const progress: FitProgress[] = [];
    const session = await engine.startFit('disc', AUTOENCODER, { onProgress: p => progress.push({ ...p }) });
    await addAll(session, 16);
    const result = await session.finish();
    assert.deepEqual([...new Set(progress.map(p => p.stage))], ['images', 'training', 'calibration']);
    assert.deepEqual([result.version, result.images, result.calibration.scores.length], ['v1', 16, 16]);
    assert.equal(result.calibration.own!.score, percentile(result.calibration.scores, 95));
    const { curve, best, epochs } = result.training!;
    assert.ok(curve.length <= epochs && epochs === 40);
    assert.ok(curve.at(-1)!.loss < curve[0].loss / 4, `loss from ${curve[0].loss} to ${curve.at(-1)!.loss}`);
    assert.equal(curve[best - 1].heldOut, Math.min(...curve.map(epoch => epoch.heldOut)));
    const { good, bad } = await scores(engine, 'disc');
    const highest = Math.max(...good.map(g => g.score), ...result.calibration.scores);
    assert.ok(
      bad.every(b => b.score > 1.5 * highest),
      `good up to ${highest}, bad ${bad.map(b => b.score).join(', ')}`
    );
    const { regions } = bad[0];
    const [{ x, y, width, height }] = [...regions].sort((a, b) => b.score - a.score);
    // the dark square of 96 pixels: x 39 to 59, y 20 to 40
    assert.ok(x + width / 2 > 36 && x + width / 2 < 62 && y + height / 2 > 16 && y + height / 2 < 44);
    const version = path.join(store, 'disc', 'v1');
    assert.ok(fs.existsSync(path.join(version, 'network.onnx')));
    assert.equal(await interrupted(path.join(store, 'disc')), false, 'nothing is left to go on with');
    const { settings } = JSON.parse(fs.readFileSync(path.join(version, 'detector.json'), 'utf8')) as {
      settings: FitSettings;
    };
    assert.deepEqual([settings.method, settings.epochs, settings.network], ['autoencoder', 40, '']);
  });

  it('EfficientAD learns from the embedded backbone and tells a defect', async () => {
    const engine = new Engine({ store: scratch(), device: 'cpu' });
    const settings: FitSettings = { ...SMALL, method: 'efficientad', epochs: 20 };
    const result = await engine.fit('disc', await parts(10), settings);
    const { curve } = result.training!;
    assert.ok(curve.at(-1)!.loss < curve[0].loss / 2, `loss from ${curve[0].loss} to ${curve.at(-1)!.loss}`);
    const { good, bad } = await scores(engine, 'disc');
    const highest = Math.max(...good.map(g => g.score));
    assert.ok(
      bad.every(b => b.score > highest),
      `good up to ${highest}, bad ${bad.map(b => b.score).join(', ')}`
    );
  });

  it('can be held and goes on, and what is held is on the disk', async () => {
    const store = scratch();
    const engine = new Engine({ store, device: 'cpu' });
    const seen: FitProgress[] = [];
    const session = await engine.startFit(
      'disc',
      { ...AUTOENCODER, epochs: 8 },
      { onProgress: p => seen.push({ ...p }) }
    );
    await addAll(session, 8);
    const done = session.finish();
    const last = () => seen.at(-1)?.training;
    await until(() => (last()?.epoch ?? 0) >= 2, 'two epochs');
    session.pause!();
    await until(() => last()?.paused === true, 'the pause');
    const steps = seen.length;
    await new Promise(resolve => setTimeout(resolve, 200));
    assert.equal(seen.length, steps, 'nothing happens while it is held');
    assert.equal(await interrupted(path.join(store, 'disc')), true);
    session.resume!();
    const { training } = await done;
    assert.equal(training!.paused, false);
    assert.ok(training!.curve.length > 2);
  });

  it('one that was interrupted goes on with its pictures where it was', async () => {
    const store = scratch();
    const engine = new Engine({ store, device: 'cpu' });
    const stop = new AbortController();
    const settings: FitSettings = { ...AUTOENCODER, epochs: 12 };
    let before = 0;
    const first = await engine.startFit('disc', settings, {
      signal: stop.signal,
      onProgress: ({ training }) => (before = training?.epoch ?? before)
    });
    await addAll(first, 8);
    const interruptedFit = assert.rejects(first.finish(), code('fit-aborted'));
    await until(() => before >= 3, 'three epochs');
    first.pause!();
    await until(
      () => fs.readdirSync(path.join(store, 'disc', '.training')).some(f => f.endsWith('.npy')),
      'checkpoint'
    );
    stop.abort();
    first.abort();
    await interruptedFit;
    assert.deepEqual(
      fs.readdirSync(path.join(store, 'disc')).filter(entry => !entry.startsWith('.')),
      [],
      'no version is saved'
    );
    let resumedAt: number | undefined;
    const second = await new Engine({ store, device: 'cpu' }).startFit(
      'disc',
      {},
      {
        resume: true,
        onProgress: ({ training }) => (resumedAt ??= training?.epoch)
      }
    );
    assert.equal(second.images, 8);
    const result = await second.finish();
    assert.ok(resumedAt! >= 3, `it went on at epoch ${resumedAt}`);
    assert.deepEqual([result.version, result.images], ['v1', 8]);
    assert.ok(result.training!.curve.length > resumedAt!);
    await assert.rejects(engine.startFit('disc', {}, { resume: true }), code('fit-no-images'));
  });

  it('a new fit takes the place of an interrupted one, which then writes no more', async () => {
    const store = scratch();
    const engine = new Engine({ store, device: 'cpu' });
    const state = path.join(store, 'disc', '.training', 'training.json');
    const first = await engine.startFit('disc', { ...AUTOENCODER, epochs: 1000 });
    await addAll(first, 6);
    const ended = assert.rejects(first.finish(), code('fit-aborted'));
    await until(() => fs.existsSync(state), 'checkpoint of the first');
    const second = await engine.startFit('disc', { ...AUTOENCODER, epochs: 2 });
    assert.equal(fs.existsSync(state), false);
    first.pause!();
    await new Promise(resolve => setTimeout(resolve, 300));
    assert.equal(fs.existsSync(state), false, 'the first is saved no more');
    first.abort();
    await ended;
    await addAll(second, 6);
    assert.equal((await second.finish()).version, 'v1');
  });

  it('refuses what it cannot train, in words', async () => {
    const engine = new Engine({ store: scratch(), device: 'cpu', maxMemory: 100 });
    await assert.rejects(engine.startFit('disc', { method: 'autoencoder' }), code('fit-memory'));
    await assert.rejects(engine.startFit('disc', { method: 'gan' } as never), code('fit-settings'));
    await assert.rejects(engine.startFit('disc', { method: 'autoencoder', epochs: 1.5 }), code('fit-settings'));
    const roomy = new Engine({ store: scratch(), device: 'cpu' });
    const session = await roomy.startFit('disc', AUTOENCODER);
    await assert.rejects(session.finish(), code('fit-no-images'));
    await assert.rejects(session.add(await part()), code('fit-no-images')).catch(() => undefined);
    session.abort();
  });

  it('can be planned', async () => {
    const engine = new Engine({ store: scratch(), device: 'cpu' });
    for (const method of ['autoencoder', 'efficientad'] as const) {
      const plan = async (images: number) => engine.plan({ ...SMALL, method, epochs: 10 }, { images });
      const [few, many] = [await plan(10), await plan(1000)];
      assert.ok(few.fitSeconds.training! > 0 && few.detectorMb > 0.5 && few.scoreMs > 0);
      assert.ok(many.fitSeconds.training! > 20 * few.fitSeconds.training!);
      assert.equal(few.refusal, undefined);
    }
  });

  it('holds out every fifth picture, and none of a few', () => {
    assert.deepEqual(divided(7), { learned: [0, 1, 3, 4, 5, 6], heldOut: [2] });
    assert.deepEqual(divided(3), { learned: [0, 1, 2], heldOut: [0, 1, 2] });
    assert.deepEqual(
      [1, 40, 1e6].map(images => epochsFor(images, 4000)),
      [400, 100, 10]
    );
  });

  it('changes the light of a picture within its bounds', () => {
    const picture = Float32Array.from({ length: 3 * 16 }, (_, i) => (i % 7) / 6);
    for (const choice of [0.1, 0.5, 0.9]) {
      const numbers = [1, choice];
      const bright = relit(picture, () => numbers.shift()!);
      assert.ok(bright.every(x => x >= 0 && x <= 1));
      assert.ok(bright.some((x, i) => Math.abs(x - picture[i]) > 0.02));
      const same = relit(picture, () => 0.5);
      assert.ok(same.every((x, i) => Math.abs(x - picture[i]) < 1e-6));
    }
  });
});
