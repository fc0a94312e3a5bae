import assert from 'node:assert/strict';
import { coreset } from '../../lib/engine/coreset';
import { randomStream } from '../../lib/engine/random';
import { Runtime } from '../../lib/engine/runtime';

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

describe('coreset', () => {
  const dimensions = 8; // far below the projected dimension: no projection, so that the choice can be compared
  const options = { seed: 5, projection: 'johnson-lindenstrauss' as const, anchors: 0 };

  it('chooses what one-by-one greedy k-center chooses', async () => {
    const runtime = await Runtime.create('cpu');
    const points = clusters(30000, dimensions, 1); // two levels of candidates
    const chosen = await coreset(runtime, [points], dimensions, { ...options, count: 400 });
    assert.deepEqual(Array.from(chosen), plainGreedy(points, dimensions, 400, chosen[0]));
  });

  it('takes parts, all points, and copies of one point', async () => {
    const runtime = await Runtime.create('cpu');
    const points = clusters(100, dimensions, 2);
    const parts = [points.subarray(0, 60 * dimensions), points.subarray(60 * dimensions)];
    const all = await coreset(runtime, parts, dimensions, { ...options, count: 1000 });
    assert.deepEqual(
      Array.from(all).sort((a, b) => a - b),
      Array.from({ length: 100 }, (_, i) => i)
    );
    const same = await coreset(runtime, [new Float32Array(50 * dimensions).fill(1)], dimensions, {
      ...options,
      count: 20
    });
    assert.equal(new Set(same).size, 20);
  });

  it('covers nearly as well through the random projection', async () => {
    const runtime = await Runtime.create('cpu');
    const wide = 600; // above the projected dimension of 4000 points
    const points = clusters(4000, wide, 3);
    const chosen = await coreset(runtime, [points], wide, { ...options, count: 200 });
    const plain = plainGreedy(points, wide, 200, chosen[0]);
    const ratio = coveringRadius(points, wide, chosen) / coveringRadius(points, wide, plain);
    assert.ok(ratio < 1.1, `covering radius ${ratio} times that of the plain algorithm`);
  });

  it('starts from anchors as patchcore-inspection does', async () => {
    const runtime = await Runtime.create('cpu');
    const points = clusters(5000, dimensions, 4);
    const chosen = await coreset(runtime, [points], dimensions, { seed: 5, projection: 128, anchors: 10, count: 100 });
    assert.equal(new Set(chosen).size, 100);
    assert.ok(
      coveringRadius(points, dimensions, chosen) <
        1.3 * coveringRadius(points, dimensions, plainGreedy(points, dimensions, 100, 0))
    );
  });
});
