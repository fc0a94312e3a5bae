import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { imageMetrics, PixelMetrics } from '../../lib/engine/metrics';

interface Expected {
  auroc: number;
  ap: number;
  f1: number;
  threshold: number;
}
interface Fixture {
  image: { name: string; scores: number[]; labels: number[]; expected: Expected | null }[];
  pixel: {
    name: string;
    width: number;
    height: number;
    maps: number[][];
    masks: string[];
    expected: (Expected & { aupro: Record<string, number> }) | null;
  }[];
}

// made by metrics.py beside it
const file = path.resolve(__dirname, '../../../test/fixtures/metrics.json');
const fixture = JSON.parse(fs.readFileSync(file, 'utf8')) as Fixture;

function near(actual: number | null | undefined, expected: number, tolerance: number, what: string) {
  assert.ok(
    typeof actual === 'number' && Math.abs(actual - expected) <= tolerance,
    `${what}: ${actual}, not ${expected}`
  );
}

function sameRanking(actual: ReturnType<typeof imageMetrics>, expected: Expected) {
  near(actual.auroc, expected.auroc, 1e-9, 'AUROC');
  near(actual.ap, expected.ap, 1e-9, 'average precision');
  near(actual.f1Max?.f1, expected.f1, 1e-9, 'F1-max');
  assert.equal(actual.f1Max?.threshold, expected.threshold);
}

describe('imageMetrics', () => {
  for (const { name, scores, labels, expected } of fixture.image) {
    it(`equals scikit-learn: ${name}`, () => {
      const result = imageMetrics(scores, labels);
      if (expected === null) assert.deepEqual(result, { auroc: null, ap: null, f1Max: null });
      else sameRanking(result, expected);
    });
  }

  it('does not depend on the order, takes typed arrays and leaves them as they are', () => {
    const { scores, labels, expected } = fixture.image[1];
    const reversed = Float64Array.from(scores).reverse();
    const before = Float64Array.from(reversed);
    sameRanking(imageMetrics(reversed, Uint8Array.from(labels).reverse()), expected!);
    assert.deepEqual(reversed, before);
  });

  it('refuses NaN and lengths that differ', () => {
    assert.throws(() => imageMetrics([1, NaN], [0, 1]), RangeError);
    assert.throws(() => imageMetrics([NaN, 1], [0, 1]), RangeError);
    assert.throws(() => imageMetrics([1, 2, 3], [0, 1]), RangeError);
    assert.deepEqual(imageMetrics([], []), { auroc: null, ap: null, f1Max: null });
  });
});

describe('PixelMetrics', () => {
  const maskOf = (digits: string) => Uint8Array.from(digits, digit => (digit === '1' ? 255 : 0));
  const none = { auroc: null, ap: null, f1Max: null, aupro: null };

  for (const { name, width, height, maps, masks, expected } of fixture.pixel) {
    it(`equals scikit-learn and anomalib: ${name}`, () => {
      for (const limit of [0.05, 0.3, 1]) {
        const metrics = new PixelMetrics(limit);
        maps.forEach((map, i) => {
          const mask = masks[i].includes('1') ? maskOf(masks[i]) : null;
          metrics.add(Float32Array.from(map), mask, width, height);
        });
        const result = metrics.result();
        if (expected === null) {
          assert.deepEqual(result, none);
          continue;
        }
        sameRanking(result, expected);
        near(result.aupro, expected.aupro[limit === 1 ? '1.0' : limit], 1e-5, `AU-PRO up to ${limit}`); // theirs adds up float32
      }
    });
  }

  it('gives every region the same weight: a missed speck costs as much as a missed half', () => {
    const map = Float32Array.from([5, 5, 5, 5, 0, 1, 1, 1, 1, 1]);
    const metrics = new PixelMetrics();
    metrics.add(map, Uint8Array.from([1, 1, 1, 0, 1, 0, 0, 0, 0, 0]), 10, 1);
    const ranked = new PixelMetrics();
    ranked.add(
      Float32Array.from([5, 5, 5, 0.5, 0, 1, 1, 1, 1, 1]),
      Uint8Array.from([1, 1, 1, 0, 1, 0, 0, 0, 0, 0]),
      10,
      1
    );
    assert.equal(ranked.result().aupro, 0.5);
    near(metrics.result().aupro, (0.3 - 1 / 12) / 0.3 / 2, 1e-12, 'AU-PRO');
  });

  it('leaves out pixels that were not inspected, and regions wholly among them', () => {
    const whole = new PixelMetrics();
    whole.add(Float32Array.from([3, 1, 2, 1]), Uint8Array.from([1, 0, 0, 0]), 4, 1);
    const cropped = new PixelMetrics();
    cropped.add(Float32Array.from([NaN, 3, 1, 2, 1, NaN]), Uint8Array.from([0, 1, 0, 0, 0, 1]), 6, 1);
    cropped.add(Float32Array.from([NaN, NaN]), null, 2, 1);
    assert.deepEqual(cropped.result(), whole.result());
  });

  it('is undefined without pictures, and refuses sizes and limits that make no sense', () => {
    assert.deepEqual(new PixelMetrics().result(), none);
    assert.throws(() => new PixelMetrics().add(new Float32Array(5), null, 2, 2), RangeError);
    assert.throws(() => new PixelMetrics().add(new Float32Array(4), new Uint8Array(5), 2, 2), RangeError);
    for (const limit of [0, -1, 1.1, NaN]) assert.throws(() => new PixelMetrics(limit), RangeError);
  });

  it('counts millions of pixels exactly', () => {
    const side = 512;
    const mask = new Uint8Array(side * side);
    mask[side + 5] = mask[side + 6] = 1;
    const metrics = new PixelMetrics();
    for (let k = 0; k < 16; k++) {
      // normal pixels: 0, 1, .. 255 equally often; the two defective ones, one region, at 191.5 and 127
      const map = Float32Array.from(mask, (_, i) => i % 256);
      if (k === 0) {
        map[side + 5] = 191.5;
        map[side + 6] = 127;
        // give back the two values that the defect covers
        map[5] = map[6] = NaN;
      }
      metrics.add(map, k === 0 ? mask : null, side, side);
    }
    const each = (16 * side * side) / 256;
    const counts = (value: number) => each - (value === 5 || value === 6 ? 2 : 0);
    const normals = Array.from({ length: 256 }, (_, value) => [value, counts(value)]);
    const total = normals.reduce((sum, [, n]) => sum + n, 0);
    const above = (score: number) => normals.reduce((sum, [value, n]) => sum + (value > score ? n : 0), 0);
    const { auroc, ap, f1Max, aupro } = metrics.result();
    const [first, second] = [above(191.5), above(127)];
    near(auroc, 1 - (first + second + each / 2) / 2 / total, 1e-12, 'AUROC');
    near(ap, (1 / (first + 1) + 2 / (second + each + 2)) / 2, 1e-12, 'average precision');
    assert.deepEqual(f1Max, { f1: 2 / (2 + 1 + first), threshold: 191.5 });
    near(aupro, (0.3 - first / total) / 0.3 / 2, 1e-12, 'AU-PRO');
  });
});
