import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { JobQueue, type Job, type Policy } from '../../lib/host/queue';

interface Named extends Job {
  name: string;
}

/** A queue whose calls end when the test says so. */
function queueOf(
  policy: Policy,
  options: { bound?: number; hardBound?: number; maxBytes?: number; batch?: number } = {}
) {
  const calls: { names: string[]; end: () => void; fail: (error: Error) => void; throwing: (error: Error) => void }[] =
    [];
  const failed: string[] = [];
  const delivered: string[] = [];
  const dropped: string[] = [];
  const queue = new JobQueue<Named>({
    policy,
    bound: 2,
    hardBound: 20,
    maxBytes: 1000,
    calls: 2,
    batch: 4,
    ...options,
    failed: (job, error) => failed.push(`${job.name}: ${error.message}`),
    work: jobs =>
      new Promise((resolve, reject) =>
        calls.push({
          names: jobs.map(job => job.name),
          end: () => resolve(() => delivered.push(...jobs.map(job => job.name))),
          fail: reject,
          throwing: error =>
            resolve(() => {
              throw error;
            })
        })
      ),
    drop: job => dropped.push(job.name)
  });
  const push = (names: string, more: Partial<Named> = {}) => {
    for (const name of names) queue.push({ name, recipe: 'r', images: 1, bytes: 1, ...more });
  };
  return { queue, calls, delivered, dropped, failed, push };
}

describe('JobQueue', () => {
  it('has two calls under way and batches what waits', async () => {
    const { calls, push, queue } = queueOf('wait');
    push('abcdefgh');
    assert.deepEqual(
      calls.map(call => call.names.join('')),
      ['a', 'b']
    );
    assert.equal(queue.length, 6);
    calls[0].end();
    await turn();
    assert.equal(calls[2].names.join(''), 'cdef');
    calls[1].end();
    await turn();
    assert.equal(calls[3].names.join(''), 'gh');
  });

  it('delivers in the order of arrival per detector, whichever call ends first', async () => {
    const { calls, push, delivered } = queueOf('wait');
    push('ab');
    push('x', { recipe: 'other' });
    calls[1].end();
    await turn();
    assert.deepEqual(delivered, []);
    calls[2].end();
    await turn();
    assert.deepEqual(delivered, ['x']);
    calls[0].end();
    await turn();
    assert.deepEqual(delivered, ['x', 'a', 'b']);
  });

  it('tells the owner of an error in work or delivery, and delivers what follows', async () => {
    const { calls, push, delivered, failed } = queueOf('wait');
    push('ab');
    push('cd');
    calls[1].fail(new Error('no work'));
    await turn();
    assert.deepEqual(failed, [], 'in order, also for errors');
    calls[0].throwing(new Error('no delivery'));
    calls[2].end();
    await turn();
    assert.deepEqual(failed, ['a: no delivery', 'b: no work']);
    assert.deepEqual(delivered, ['c', 'd']);
  });

  it('puts only jobs of one detector into a call, and lets none overtake its own kind', async () => {
    const { calls, push } = queueOf('wait');
    push('ab');
    push('c');
    push('x', { recipe: 'other' });
    push('D', { images: 4 });
    push('e');
    for (const call of calls) call.end();
    await turn();
    assert.deepEqual(
      calls.slice(2).map(call => call.names.join('')),
      ['c', 'x']
    );
    for (const call of calls) call.end();
    await turn();
    assert.deepEqual(
      calls.slice(4).map(call => call.names.join('')),
      ['D', 'e']
    );
  });

  it('keeps calls small in bytes', async () => {
    const { calls, push } = queueOf('wait', { maxBytes: 1e9 });
    push('abcdef', { bytes: 3e6 });
    for (const call of calls) call.end();
    await turn();
    assert.deepEqual(
      calls.map(call => call.names.join('')),
      ['a', 'b', 'cd', 'ef']
    );
  });

  it('wait: holds more than the bound, and refuses beyond the hard one', () => {
    const { push, queue } = queueOf('wait', { hardBound: 5 });
    push('abcd');
    assert.equal(queue.crowded, false);
    push('efg');
    assert.equal(queue.crowded, true);
    assert.throws(() => push('h'), { code: 'queue-full' });
    assert.equal(queue.length, 5);
  });

  it('bounds the memory of what waits', () => {
    const { push } = queueOf('wait', { maxBytes: 100 });
    push('abc', { bytes: 60 });
    assert.throws(() => push('d', { bytes: 60 }), { code: 'queue-full' });
    push('e', { bytes: 40 });
  });

  it('drop-oldest, drop-newest and error do what they say', () => {
    const oldest = queueOf('drop-oldest');
    oldest.push('abcdef');
    assert.deepEqual(oldest.dropped, ['c', 'd']);
    assert.deepEqual(
      oldest.queue.clear().map(job => job.name),
      ['e', 'f']
    );
    const newest = queueOf('drop-newest');
    newest.push('abcdef');
    assert.deepEqual(newest.dropped, ['e', 'f']);
    const error = queueOf('error');
    error.push('abcd');
    assert.throws(() => error.push('e'), { code: 'queue-full' });
  });
});
