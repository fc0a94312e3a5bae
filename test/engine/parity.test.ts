import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { decode } from '../../lib/engine/decode';
import { Extractor } from '../../lib/engine/features';
import { MapHead, createSearch } from '../../lib/engine/head';
import { completeSettings } from '../../lib/engine/presets';
import { Runtime } from '../../lib/engine/runtime';
import { shared } from '../support';

type Expected = Record<string, number | number[]>;
interface Parity {
  train: string[];
  anomalib: Record<string, Expected>;
  pci: Record<string, Expected>;
}

/** Where the expectation keeps what, and which patch's embedding it shows. */
const KEYS = {
  anomalib: {
    patch: 517,
    embedding: 'embedding_patch_517_first_8',
    grid: 'patch_distance_32x32',
    map: 'map_256_every_8th_from_4'
  },
  pci: {
    patch: 400,
    embedding: 'embedding_patch_400_first_8',
    grid: 'patch_distance_28x28',
    map: 'map_224_every_8th_from_4'
  }
};

function assertClose(got: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assert.equal(got.length, expected.length, what);
  for (let i = 0; i < expected.length; i++) {
    const relative = Math.abs(got[i] - expected[i]) / Math.max(Math.abs(expected[i]), 1e-5);
    assert.ok(relative < 1e-3, `${what}[${i}]: ${got[i]} instead of ${expected[i]}`);
  }
}

describe('parity with the published implementations', () => {
  for (const preset of ['anomalib', 'pci'] as const)
    it(`${preset}: embeddings, patch distances, image scores and maps within 1e-3`, async function () {
      this.timeout(120000);
      const folder = shared(this, 'reference');
      const backbone = shared(this, 'weights', 'resnet50v2_l23.onnx');
      const expectation = JSON.parse(fs.readFileSync(path.join(folder, 'parity.json'), 'utf8')) as Parity;
      const settings = completeSettings({ preset, backbone, seed: 0 });
      const runtime = await Runtime.create('cpu');
      const extractor = await Extractor.create(runtime, settings);
      const embed = async (file: string) => {
        const picture = await decode(fs.readFileSync(path.join(folder, 'images', file)));
        return extractor.embed([(await extractor.prepare(picture)).input]);
      };
      const train = [];
      for (const file of expectation.train) train.push(await embed(file));
      const { dimensions } = train[0];
      const bank = Float32Array.from(train.flatMap(t => Array.from(t.patches[0])));
      const plain = await createSearch(runtime, bank, dimensions, { ...settings, reweight: false });
      const reweighted = await createSearch(runtime, bank, dimensions, { ...settings, reweight: true });
      const maps = await MapHead.create(runtime);
      const keys = KEYS[preset];
      for (const [file, expected] of Object.entries(expectation[preset])) {
        const embeddings = await embed(file);
        const [patches] = embeddings.patches;
        const from = keys.patch * dimensions;
        assertClose(patches.subarray(from, from + 8), expected[keys.embedding] as number[], `${file} embedding`);
        const { distances, score } = await plain.search(patches);
        assertClose(distances, expected[keys.grid] as number[], `${file} distances`);
        assertClose([score], [expected.score_max as number], `${file} largest distance`);
        if (preset === 'anomalib')
          assertClose(
            [(await reweighted.search(patches)).score],
            [expected.score_reweighted_k9 as number],
            `${file} score`
          );
        const map = await maps.inInput(distances, embeddings, settings);
        const every8th = map.data.filter((_, i) => (i % map.width) % 8 === 4 && Math.floor(i / map.width) % 8 === 4);
        assertClose(every8th, expected[keys.map] as number[], `${file} map`);
      }
      for (const part of [extractor, plain, reweighted, maps]) await part.release();
    });
});
