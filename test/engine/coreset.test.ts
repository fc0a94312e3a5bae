import assert from 'node:assert/strict';
import { coreset, CoresetOptions } from '../../lib/engine/coreset';
import type { GoodpartsError } from '../../lib/engine/errors';
import { randomStream } from '../../lib/engine/random';
import { Runtime } from '../../lib/engine/runtime';
import { RowFile } from '../../lib/engine/workfile';
import { scratch } from '../support';

/** The textbook algorithm, one choice at a time, in double precision. */
function plainGreedy(points: Float32Array, dimensions: number, count: number, first: number): number[] {
  const total = points.length / dimensions;
  const distance = new Float64Array(total).fill(Infinity);
  const chosen = [first];
  while (chosen.length < count) {
    const last = chosen[chosen.length - 1];
    let top = 0;
    for (let i = 0; i < total; i++) {
      let sum = 0;
      for (let d = 0; d < dimensions; d++) sum += (points[i * dimensions + d] - points[last * dimensions + d]) ** 2;
      distance[i] = Math.min(distance[i], sum);
      if (distance[i] > distance[top]) top = i;
    }
    chosen.push(top);
  }
  return chosen;
}

/** Largest distance of a point to its nearest chosen one. */
function coveringRadius(points: Float32Array, dimensions: number, chosen: Iterable<number>): number {
  const centers = [...chosen];
  let radius = 0;
  for (let i = 0; i < points.length / dimensions; i++) {
    let nearest = Infinity;
    for (const c of centers) {
      let sum = 0;
      for (let d = 0; d < dimensions; d++) sum += (points[i * dimensions + d] - points[c * dimensions + d]) ** 2;
      nearest = Math.min(nearest, sum);
    }
    radius = Math.max(radius, nearest);
  }
  return Math.sqrt(radius);
}

/** Clusters of very different size, as patches of pictures are: much background, few edges. */
function clusters(total: number, dimensions: number, seed: number): Float32Array {
  const random = randomStream(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const centers = Array.from({ length: 40 }, () => Array.from({ length: dimensions }, () => 3 * normal()));
  const points = new Float32Array(total * dimensions);
  for (let i = 0; i < total; i++) {
    const center = centers[Math.floor(40 * random() ** 3)];
    for (let d = 0; d < dimensions; d++) points[i * dimensions + d] = center[d] + 0.3 * normal();
  }
  return points;
}

/** Chooses from points that lie in a working file, as a fit's do. */
async function choose(points: Float32Array, dimensions: number, options: Partial<CoresetOptions>) {
  const runtime = await Runtime.create('cpu');
  const file = await RowFile.create(scratch(), dimensions);
  try {
    await file.append(points);
    const found = await coreset(runtime, file, { seed: 5, anchors: 0, count: 100, ...options });
    await found.points.release();
    return found;
  } finally {
    await file.close();
  }
}

describe('coreset', () => {
  it('chooses what one-by-one greedy k-center chooses', async () => {
    const points = clusters(30000, 8, 1);
    const { chosen, radius } = await choose(points, 8, { count: 400 });
    assert.deepEqual(Array.from(chosen), plainGreedy(points, 8, 400, chosen[0]));
    const covering = coveringRadius(points, 8, chosen);
    assert.ok(radius >= covering && radius < covering * 1.02, `${radius}, and ${covering} measured`);
  });

  it('chooses the same where most distances are ruled out by the short stand-ins of the points', async () => {
    const points = clusters(2000, 300, 3); // the stand-ins are 128 long
    const { chosen } = await choose(points, 300, { count: 200 });
    assert.deepEqual(Array.from(chosen), plainGreedy(points, 300, 200, chosen[0]));
  });

  it('takes all points, and copies of one point', async () => {
    const all = await choose(clusters(100, 8, 2), 8, { count: 1000 });
    assert.deepEqual(
      Array.from(all.chosen).sort((a, b) => a - b),
      Array.from({ length: 100 }, (_, i) => i)
    );
    assert.equal(all.radius, 0);
    for (const dimensions of [8, 300]) {
      const same = await choose(new Float32Array(50 * dimensions).fill(1), dimensions, { count: 20 });
      assert.equal(new Set(same.chosen).size, 20);
    }
  });

  it('starts from anchors as patchcore-inspection does', async () => {
    const points = clusters(5000, 8, 4);
    const { chosen } = await choose(points, 8, { anchors: 10 });
    assert.equal(new Set(chosen).size, 100);
    assert.ok(coveringRadius(points, 8, chosen) < 1.3 * coveringRadius(points, 8, plainGreedy(points, 8, 100, 0)));
  });

  it('stops when asked', async () => {
    const stop = new AbortController();
    const work = choose(clusters(20000, 8, 6), 8, {
      count: 10000,
      signal: stop.signal,
      onProgress: () => stop.abort()
    });
    await assert.rejects(work, (error: GoodpartsError) => error.code === 'fit-aborted');
  });
});
