import assert from 'node:assert/strict';
import { labelComponents } from '../../lib/engine/components';
import { randomStream } from '../../lib/engine/random';
import { regions } from '../../lib/engine/regions';

/** A picture drawn with characters: '.' is 0, a digit its value, '#' is 1. */
function draw(...lines: string[]) {
  const values = lines.join('').split('');
  const data = Float32Array.from(values, c => (c === '.' ? 0 : c === '#' ? 1 : Number(c)));
  return { data, mask: Uint8Array.from(data), width: lines[0].length, height: lines.length };
}

/** The obvious way to label: a flood from every pixel not seen yet. */
function flood(mask: Uint8Array, width: number, height: number) {
  const labels = new Int32Array(mask.length);
  let count = 0;
  for (let start = 0; start < mask.length; start++) {
    if (mask[start] === 0 || labels[start] !== 0) continue;
    labels[start] = ++count;
    for (const stack = [start]; stack.length > 0;) {
      const at = stack.pop()!;
      for (let y = Math.floor(at / width) - 1; y <= Math.floor(at / width) + 1; y++)
        for (let x = (at % width) - 1; x <= (at % width) + 1; x++) {
          const next = y * width + x;
          if (x < 0 || y < 0 || x >= width || y >= height || mask[next] === 0 || labels[next] !== 0) continue;
          labels[next] = count;
          stack.push(next);
        }
    }
  }
  return { labels, count };
}

describe('labelComponents', () => {
  it('joins diagonals and late meetings, numbers in reading order', () => {
    const { mask, width, height } = draw('#..#.#', '.#..#.', '......', '#.#.#.', '#.#.#.', '#####.');
    const { labels, count } = labelComponents(mask, width, height);
    assert.equal(count, 3);
    assert.deepEqual(
      Array.from(labels),
      [1, 0, 0, 2, 0, 2, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 3, 0, 3, 0, 3, 0, 3, 0, 3, 0, 3, 3, 3, 3, 3, 0]
    );
  });

  it('equals a flood fill on random pictures of every density and shape', () => {
    const next = randomStream(7);
    for (let round = 0; round < 300; round++) {
      const width = 1 + Math.floor(next() * 24);
      const height = 1 + Math.floor(next() * 24);
      const density = next();
      const mask = Uint8Array.from({ length: width * height }, () => (next() < density ? 255 : 0));
      assert.deepEqual(labelComponents(mask, width, height), flood(mask, width, height));
    }
  });

  it('handles nothing, everything and a size that does not fit', () => {
    assert.deepEqual(labelComponents(new Uint8Array(0), 0, 0), { labels: new Int32Array(0), count: 0 });
    assert.equal(labelComponents(new Uint8Array(9), 3, 3).count, 0);
    assert.equal(labelComponents(new Uint8Array(9).fill(1), 3, 3).count, 1);
    assert.throws(() => labelComponents(new Uint8Array(8), 3, 3), RangeError);
  });
});

describe('regions', () => {
  const map = draw('..........', '.12....5..', '.23....6..', '....4.....', '.......7..', '......7.7.');

  it('gives box, area, score and damage, highest score first', () => {
    const report = regions(map.data, map.width, map.height, 1);
    assert.deepEqual(report.regions, [
      { x: 6, y: 4, width: 3, height: 2, score: 7, area: 3 },
      { x: 7, y: 1, width: 1, height: 2, score: 6, area: 2 },
      { x: 4, y: 3, width: 1, height: 1, score: 4, area: 1 },
      { x: 1, y: 1, width: 2, height: 2, score: 3, area: 3 }
    ]);
    assert.equal(report.damage, 9 / 60);
  });

  it('is strict about the threshold and finds nothing above the maximum', () => {
    assert.equal(regions(map.data, map.width, map.height, 6).regions.length, 1);
    assert.deepEqual(regions(map.data, map.width, map.height, 7), { regions: [], damage: 0 });
  });

  it('keeps the highest scores when there are more than the bound', () => {
    const scores = regions(map.data, map.width, map.height, 1, { maxRegions: 2 }).regions.map(r => r.score);
    assert.deepEqual(scores, [7, 6]);
    const dots = new Float32Array(200 * 200);
    for (let y = 0; y < 200; y += 2) for (let x = 0; x < 200; x += 2) dots[y * 200 + x] = 1 + y * 200 + x;
    const report = regions(dots, 200, 200, 0.5);
    assert.equal(report.regions.length, 50);
    assert.deepEqual([report.regions[0].x, report.regions[0].y], [198, 198]);
    assert.equal(report.damage, 0.25);
  });

  it('scales boxes and areas to the picture', () => {
    const { regions: found } = regions(map.data, 10, 6, 6.5, { imageWidth: 100, imageHeight: 90 });
    assert.deepEqual(found, [{ x: 60, y: 60, width: 30, height: 30, score: 7, area: 450 }]);
    const odd = regions(map.data, 10, 6, 1, { imageWidth: 37, imageHeight: 23 });
    for (const r of odd.regions) {
      assert.ok(r.x >= 0 && r.y >= 0 && r.x + r.width <= 37 && r.y + r.height <= 23, JSON.stringify(r));
      assert.ok(r.area >= 1 && r.area <= r.width * r.height, JSON.stringify(r));
    }
  });

  it('keeps boxes inside a picture smaller than the map', () => {
    const { regions: found } = regions(map.data, 10, 6, 1, { imageWidth: 3, imageHeight: 2 });
    for (const r of found) {
      assert.ok(r.width >= 1 && r.height >= 1 && r.x + r.width <= 3 && r.y + r.height <= 2, JSON.stringify(r));
    }
  });

  it('leaves pixels that were not inspected out of the damage', () => {
    const cropped = Float32Array.from([NaN, NaN, 2, 0, 2, 0]);
    assert.deepEqual(regions(cropped, 3, 2, 1), {
      regions: [{ x: 1, y: 0, width: 2, height: 2, score: 2, area: 2 }],
      damage: 0.5
    });
    assert.deepEqual(regions(new Float32Array(4).fill(NaN), 2, 2, 0), { regions: [], damage: 0 });
  });

  it('reads a large smooth map in strides: same regions to the stride, exact peaks', () => {
    const width = 4000;
    const height = 3000;
    const large = new Float32Array(width * height);
    const blobs = [
      { x: 1003, y: 701, radius: 120, peak: 3.5 },
      { x: 3333, y: 2222, radius: 90, peak: 2.25 }
    ];
    for (const b of blobs)
      for (let y = b.y - b.radius; y <= b.y + b.radius; y++)
        for (let x = b.x - b.radius; x <= b.x + b.radius; x++)
          large[y * width + x] = Math.max(0, b.peak * (1 - Math.hypot(x - b.x, y - b.y) / b.radius));
    const report = regions(large, width, height, 1);
    const exact = regions(large, width, height, 1, { maxSide: width });
    assert.equal(report.regions.length, 2);
    assert.deepEqual(
      report.regions.map(r => r.score),
      blobs.map(b => b.peak)
    );
    report.regions.forEach((r, i) => {
      const e = exact.regions[i];
      for (const key of ['x', 'y'] as const) assert.ok(Math.abs(r[key] - e[key]) <= 8, `${key} ${r[key]} ${e[key]}`);
      for (const key of ['width', 'height'] as const) assert.ok(Math.abs(r[key] - e[key]) <= 16);
      assert.ok(Math.abs(r.area / e.area - 1) < 0.03, `${r.area} ${e.area}`);
    });
    assert.ok(Math.abs(report.damage / exact.damage - 1) < 0.03);
  });

  it('refuses a size that does not fit', () => {
    assert.throws(() => regions(new Float32Array(5), 2, 2, 0), RangeError);
  });
});
