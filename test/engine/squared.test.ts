import assert from 'node:assert/strict';
import { randomStream } from '../../lib/engine/random';
import { SquaredDistance } from '../../lib/engine/squared';

describe('squared distance by SIMD', () => {
  const random = randomStream(3);
  const draw = (length: number): Float32Array => Float32Array.from({ length }, () => 4 * random() - 2);
  const plain = (x: Float32Array, y: Float32Array): number => x.reduce((sum, value, i) => sum + (value - y[i]) ** 2, 0);

  for (const dimensions of [1, 7, 8, 127, 129, 384, 1536, 20_000])
    it(`of ${dimensions} numbers is that of the plain sum`, () => {
      const distance = new SquaredDistance(dimensions);
      for (let round = 0; round < 5; round++) {
        const [x, y, z] = [draw(dimensions), draw(dimensions), draw(dimensions)];
        distance.from(x);
        for (const other of [y, z]) {
          const exact = plain(x, other);
          assert.ok(Math.abs(distance.to(other, Infinity) - exact) <= 1e-6 * exact);
        }
        assert.equal(distance.to(x, Infinity), 0);
      }
    });

  it('is exact up to the limit, and above it where it is larger', () => {
    const distance = new SquaredDistance(1536);
    const [x, y] = [draw(1536), draw(1536)];
    distance.from(x);
    const whole = distance.to(y, Infinity);
    assert.equal(distance.to(y, whole), whole);
    const given = distance.to(y, whole / 10);
    assert.ok(given > whole / 10 && given < whole / 2, 'given up long before the end');
  });

  it('tells what is no number, instead of a distance', () => {
    const distance = new SquaredDistance(16);
    distance.from(draw(16).fill(NaN, 3, 4));
    assert.ok(Number.isNaN(distance.to(draw(16), Infinity)));
  });
});
