import assert from 'node:assert/strict';
import { GoodpartsError, type ScoreResult } from '../../lib/engine';
import { EngineClient } from '../../lib/host';
import { clientOptions, fitted, parts } from '../nodes/helper';
import { scratch } from '../support';

const codes = (entries: (ScoreResult | Error)[]) =>
  entries.map(entry =>
    entry instanceof GoodpartsError ? entry.code : entry instanceof Error ? entry.message : 'scored'
  );

describe('A score that is not wanted any more', () => {
  let client: EngineClient;
  let images: Buffer[];
  before(async () => {
    const store = scratch();
    await fitted(store, 'screw');
    client = new EngineClient(clientOptions(store));
    images = await parts(8, 20);
    await client.score('screw', images);
  });
  after(() => client.close());

  it('is left out when its own deadline has passed; the others of its call are scored', async () => {
    const late = Date.now() - 250;
    const entries = await client.score('screw', images.slice(0, 4), {
      deadlines: [0, late, Date.now() + 60_000, late]
    });
    assert.deepEqual(codes(entries), ['scored', 'deadline-missed', 'scored', 'deadline-missed']);
    const { message, details } = entries[1] as GoodpartsError;
    assert.ok((details.late as number) >= 250, message);
    assert.match(message, new RegExp(`${details.late} ms ago`));
    const [alone] = await client.score('screw', [images[2]]);
    assert.equal((entries[2] as ScoreResult).score, (alone as ScoreResult).score);
  });

  it('is left out when the deadline passes while it waits in the engine process', async () => {
    // far more work than the time allows, all of it handed to the engine at once
    const soon = Date.now() + 40;
    const calls = Array.from({ length: 40 }, () =>
      client.score('screw', images, { deadlines: images.map(() => soon) })
    );
    const all = (await Promise.all(calls)).flatMap(codes);
    const missed = all.filter(code => code === 'deadline-missed').length;
    assert.equal(all.length, 320);
    assert.ok(missed > 100, `${missed} of 320`);
    assert.deepEqual(new Set(all.filter(code => code !== 'scored')), new Set(['deadline-missed']));
  });

  it('is left when it is taken back; what was scored before stays', async () => {
    const taken = [new AbortController(), new AbortController()];
    const many = Array.from({ length: 8 }, () => images).flat();
    const kept = client.score('screw', [images[0]]);
    const calls = taken.map(({ signal }) => client.score('screw', many, {}, signal));
    await kept;
    for (const each of taken) each.abort();
    const all = (await Promise.all(calls)).map(codes);
    assert.ok(all.flat().every(code => code === 'scored' || code === 'score-cancelled'));
    assert.ok(all[1].includes('score-cancelled'), 'nothing was taken back');
    assert.deepEqual(codes(await kept), ['scored']);
    assert.deepEqual(codes(await client.score('screw', [images[1]])), ['scored'], 'the engine goes on');
  });

  it('ends at once where the engine process has not started yet', async () => {
    const fresh = new EngineClient({ ...clientOptions(scratch()), engine: { store: scratch(), device: 'auto' } });
    const taken = new AbortController();
    const call = fresh.score('screw', images, {}, taken.signal);
    taken.abort();
    await assert.rejects(call, { code: 'score-cancelled' });
    await fresh.close();
  });
});
