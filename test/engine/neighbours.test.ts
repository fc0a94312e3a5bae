import assert from 'node:assert/strict';
import { decode } from '../../lib/engine/decode';
import { GoodpartsError } from '../../lib/engine/errors';
import { Extractor } from '../../lib/engine/features';
import { createSearch, SearchHead, WholeSearch } from '../../lib/engine/head';
import { LargeSearch } from '../../lib/engine/large';
import { Neighbours, pays } from '../../lib/engine/neighbours';
import { decodeNpy, encodeNpy } from '../../lib/engine/npy';
import { completeSettings } from '../../lib/engine/presets';
import { Runtime } from '../../lib/engine/runtime';
import type { Arrays } from '../../lib/engine/version';
import { part, parts } from '../support';

const settings = completeSettings();
const damaged = (error: unknown): boolean => error instanceof GoodpartsError && error.code === 'detector-damaged';

describe('Neighbours in cells', function () {
  this.timeout(60_000);
  let runtime: Runtime;
  let exact: SearchHead;
  let index: Neighbours;
  let bank: Float32Array;
  let dimensions: number;
  /** a good and a bad part */
  let queries: Float32Array[];

  before(async () => {
    runtime = await Runtime.create('cpu', 2);
    const extractor = await Extractor.create(runtime, settings);
    const embed = async (image: Buffer): Promise<Float32Array> => {
      const { input } = await extractor.prepare(await decode(image, {}));
      const found = await extractor.embed([input]);
      dimensions = found.dimensions;
      return found.patches[0].slice();
    };
    const rows: number[][] = [];
    for (const image of await parts(6)) rows.push([...(await embed(image))]);
    bank = Float32Array.from(rows.flat());
    queries = [await embed(await part({ seed: 7 })), await embed(await part({ seed: 8, defect: true }))];
    await extractor.release();
    exact = await createSearch(runtime, bank, dimensions, settings);
    index = await Neighbours.build(runtime, bank, dimensions);
  });

  after(async () => {
    await exact.release();
    await index.release();
  });

  /** Distance of each patch to the nearest of its candidates. */
  function measured(patches: Float32Array, candidates: Int32Array): Float64Array {
    const count = patches.length / dimensions;
    const wanted = candidates.length / count;
    const nearest = new Float64Array(count).fill(Infinity);
    candidates.forEach((candidate, i) => {
      const patch = Math.floor(i / wanted);
      let sum = 0;
      for (let d = 0; d < dimensions; d++)
        sum += (patches[patch * dimensions + d] - bank[candidate * dimensions + d]) ** 2;
      nearest[patch] = Math.min(nearest[patch], Math.sqrt(sum));
    });
    return nearest;
  }

  async function compare(leftOut?: Int32Array): Promise<{ close: number; largest: number }> {
    let close = 0;
    let largest = 0;
    for (const patches of queries) {
      const truth = (await exact.search(patches, leftOut)).distances;
      const found = measured(patches, await index.candidates(patches, 2, leftOut));
      close += found.filter((d, i) => d <= truth[i] * 1.001).length / found.length / queries.length;
      largest = Math.max(largest, Math.abs(Math.max(...found) / Math.max(...truth) - 1));
    }
    return { close, largest };
  }

  it('finds the nearest bank patch of nearly every patch, and of the one that decides the score', async () => {
    const { close, largest } = await compare();
    assert.ok(close >= 0.99, `${close}`);
    assert.ok(largest < 1e-3, `${largest}`);
  });

  it('finds the nearest among the others when bank patches are left out', async () => {
    const leftOut = Int32Array.from({ length: 1024 }, (_, i) => 2048 + i);
    const { close, largest } = await compare(leftOut);
    assert.ok(close >= 0.99 && largest < 1e-3, `${close} ${largest}`);
    const candidates = await index.candidates(queries[0], 4, leftOut);
    assert.ok(candidates.every(i => i < 2048 || i >= 3072));
  });

  it('finds the only bank patch that is not left out, wherever its cell lies', async () => {
    const leftOut = Int32Array.from({ length: bank.length / dimensions }, (_, i) => i).filter(i => i !== 100);
    const candidates = await index.candidates(queries[1], 2, leftOut);
    assert.ok(candidates.every(i => i === 100));
  });

  it('gives the same answers after it was written and read, and when it is built again', async () => {
    const arrays: Arrays = Object.fromEntries(
      Object.entries(index.arrays()).map(([key, array]) => [key, decodeNpy(encodeNpy(array))])
    );
    const before = await index.candidates(queries[0], 3);
    for (const again of [
      await Neighbours.load(runtime, bank, dimensions, arrays),
      await Neighbours.build(runtime, bank, dimensions)
    ]) {
      assert.deepEqual(await again.candidates(queries[0], 3), before);
      await again.release();
    }
  });

  it('refuses arrays that are damaged or belong to another bank', async () => {
    const arrays = index.arrays();
    const cells = arrays['bank-cells'].data as Int32Array;
    const centers = arrays['bank-centers'].data as Float32Array;
    const wrong: Arrays[] = [
      {},
      { ...arrays, 'bank-cells': { data: cells.subarray(1), shape: [cells.length - 1] } },
      { ...arrays, 'bank-cells': { data: cells.map((c, i) => (i === 5 ? 1e6 : c)), shape: [cells.length] } },
      { ...arrays, 'bank-centers': { data: centers.map((c, i) => (i === 5 ? NaN : c)), shape: [centers.length] } }
    ];
    for (const w of wrong) await assert.rejects(Neighbours.load(runtime, bank, dimensions, w), damaged);
  });

  it('works for a bank smaller than its cells, and fills up what is missing', async () => {
    const small = await Neighbours.build(runtime, bank.subarray(0, 3 * dimensions), dimensions);
    const candidates = await small.candidates(bank.subarray(0, dimensions), 5);
    assert.equal(candidates.length, 5);
    assert.equal(candidates[0], 0);
    assert.deepEqual(new Set(candidates), new Set([0, 1, 2]));
    await small.release();
  });

  it('stops when the fit is stopped, and tells how far it is', async () => {
    const seen: number[] = [];
    const onProgress = (done: number, total: number): void => void seen.push(done / total);
    await (await Neighbours.build(runtime, bank, dimensions, { onProgress })).release();
    assert.equal(seen.at(-1), 1);
    const stopped = Neighbours.build(runtime, bank, dimensions, { signal: AbortSignal.abort() });
    await assert.rejects(stopped, (error: unknown) => (error as GoodpartsError).code === 'fit-aborted');
  });

  it('scores as the search of the whole bank does, with some left out, too, and from what was stored', async () => {
    const rating = { neighbours: 9, distance: 'l2', score: 'max' } as const;
    const whole = await WholeSearch.create(runtime, bank, dimensions, rating);
    const made = await LargeSearch.create(runtime, bank, dimensions, rating);
    const stored = await LargeSearch.create(runtime, bank, dimensions, rating, made.arrays());
    const some = Int32Array.from({ length: bank.length / dimensions / 3 }, (_, i) => 3 * i);
    for (const patches of queries)
      for (const leftOut of [undefined, some]) {
        const expected = await whole.search(patches, leftOut);
        for (const cells of [made, stored]) {
          const found = await cells.search(patches, leftOut);
          const error = Math.abs(found.score / expected.score - 1);
          assert.ok(error < 1e-3, `${found.score} instead of ${expected.score}`);
          assert.ok(!leftOut || found.nearest.every(i => i % 3 !== 0));
        }
      }
    await Promise.all([whole, made, stored].map(search => search.release()));
  });

  it('is used for large banks on the CPU', () => {
    assert.equal(pays(10_000, 'cpu'), false);
    assert.equal(pays(200_000, 'cpu'), true);
    assert.equal(pays(200_000, 'cuda'), false);
  });
});
