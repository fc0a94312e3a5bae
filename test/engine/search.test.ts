import assert from 'node:assert/strict';
import { coarseBank } from '../../lib/engine/coarse';
import { LEFT_OUT } from '../../lib/engine/graphs/rank';
import { searchGraph } from '../../lib/engine/graphs/search';
import { squaredLengths } from '../../lib/engine/pairs';
import { randomStream } from '../../lib/engine/random';
import { Runtime } from '../../lib/engine/runtime';

const DIMENSIONS = 96;
const SIZE = 3001;

/** Patches in clusters and with a few loud coordinates, as networks give them. */
function patches(count: number, seed: number): Float32Array {
  const random = randomStream(seed);
  const centers = randomStream(1);
  const cluster = Array.from({ length: 40 * DIMENSIONS }, () => centers() * 2);
  return Float32Array.from({ length: count * DIMENSIONS }, (_, i) => {
    const d = i % DIMENSIONS;
    const c = (Math.floor(i / DIMENSIONS) * 7) % 40;
    return (cluster[c * DIMENSIONS + d] + random()) * (d % 31 ? 1 : 4);
  });
}

/** What one patch is nearest to, by the definition and in double precision. */
function nearest(query: Float32Array, bank: Float32Array, skip: Set<number>): { index: number; distance: number } {
  let best = { index: -1, distance: Infinity };
  for (let i = 0; i < bank.length / DIMENSIONS; i++) {
    if (skip.has(i)) continue;
    let sum = 0;
    for (let d = 0; d < DIMENSIONS; d++) sum += (query[d] - bank[i * DIMENSIONS + d]) ** 2;
    if (sum < best.distance) best = { index: i, distance: sum };
  }
  return { index: best.index, distance: Math.sqrt(best.distance) };
}

describe('search', () => {
  const bank = patches(SIZE, 2);
  const queries = patches(300, 3);
  // a bank patch itself, and a defect far from all
  queries.set(bank.subarray(5 * DIMENSIONS, 6 * DIMENSIONS), 0);
  queries.subarray(DIMENSIONS, 2 * DIMENSIONS).forEach((x, i, q) => (q[i] = x * 2));
  const leftOut = new Set([5, 17, SIZE - 1]);

  async function search(form: 'coarse' | 'float32') {
    const runtime = await Runtime.create('cpu');
    const coarse = form === 'coarse' ? await coarseBank(runtime, bank, DIMENSIONS) : undefined;
    const session = await runtime.session(
      searchGraph({ bank, dimensions: DIMENSIONS, neighbours: 9, distance: 'l2', score: 'max', coarse })
    );
    const norms = coarse?.norms ?? squaredLengths(bank, DIMENSIONS);
    for (const i of leftOut) norms[i] = LEFT_OUT;
    const { distances, nearest, score } = await session.run({
      patches: { data: queries, dims: [queries.length / DIMENSIONS, DIMENSIONS] },
      norms: { data: norms, dims: [SIZE] },
      ...(coarse && { bank: { data: bank, dims: [SIZE, DIMENSIONS] } })
    });
    await session.release();
    return { distances: distances.data, nearest: nearest.data, score: score.data[0] };
  }

  for (const form of ['float32', 'coarse'] as const)
    it(`finds the nearest bank patches that are not left out (${form})`, async () => {
      const found = await search(form);
      let missed = 0;
      let worst = 0;
      for (let q = 0; q < found.distances.length; q++) {
        const expected = nearest(queries.subarray(q * DIMENSIONS, (q + 1) * DIMENSIONS), bank, leftOut);
        assert.ok(!leftOut.has(found.nearest[q]), `patch ${q} found one that is left out`);
        const error = Math.abs(found.distances[q] / expected.distance - 1);
        if (error > 1e-4) missed++;
        worst = Math.max(worst, error);
      }
      // the defect makes the steps of the whole picture twice as coarse, and many patches here are almost equally near
      assert.ok(missed <= (form === 'coarse' ? 12 : 0), `${missed} of ${found.distances.length} missed`);
      assert.ok(worst < 0.01, `a distance is ${worst} off`);
    });

  it('gives the same image score from 8 bits as from floats', async () => {
    const [coarse, float32] = [await search('coarse'), await search('float32')];
    assert.ok(Math.abs(coarse.score / float32.score - 1) < 1e-4, `${coarse.score} instead of ${float32.score}`);
  });
});
