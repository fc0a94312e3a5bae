import assert from 'node:assert/strict';
import { Turns } from '../../lib/engine/turns';

describe('turns', () => {
  it('do every kind of work once without counting it, then round by round', async () => {
    const done: string[] = [];
    const turns = new Turns();
    const works = ['a', 'b'].map(name => turns.add(async () => void done.push(name)));
    await turns.run({ ms: 0, least: 3, most: 31 });
    assert.equal(done.join(''), 'ab'.repeat(4));
    for (const { times } of works) assert.equal(times.length, 3);
  });

  it('go on until the time is up, and are enough at some point', async () => {
    const rounds = async (ms: number, most: number): Promise<number> => {
      const turns = new Turns();
      const { times } = turns.add(() => new Promise(resolve => setTimeout(resolve, 10)));
      await turns.run({ ms, least: 1, most });
      return times.length;
    };
    const timed = await rounds(200, 1000);
    assert.ok(timed > 1 && timed < 22, `${timed} rounds of 10 ms in 200 ms`);
    assert.equal(await rounds(60_000, 5), 5);
  });

  it('tell what many take, each, and what a single one takes as a rule', () => {
    const work = new Turns().add(async () => undefined);
    work.times.push(10, 1, 4);
    assert.deepEqual([work.mean, work.median, work.times], [5, 4, [10, 1, 4]]);
  });
});
