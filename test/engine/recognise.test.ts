import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Engine, GoodpartsError, type ScoreResult } from '../../lib/engine';
import { Extractor } from '../../lib/engine/features';
import { writeSample } from '../../lib/sample';
import { part, parts, scratch, shared } from '../support';

const bytes = (folder: string, count: number): Buffer[] => {
  const files = fs.readdirSync(folder).sort();
  return files.slice(0, count).map(file => fs.readFileSync(path.join(folder, file)));
};
const scored = (entry: ScoreResult | GoodpartsError): ScoreResult => {
  if (entry instanceof GoodpartsError) throw entry;
  return entry;
};

/** In a smaller one a defect is seen in the patches of half the picture. */
const INPUT = { inputWidth: 128, inputHeight: 128 };

describe('the nearest detector', function () {
  this.timeout(60_000);

  describe('of drawn parts', () => {
    const engine = new Engine({ store: scratch() });
    const folder = path.join(scratch(), 'flange');
    before(async () => {
      await writeSample(folder, { train: 8, test: 1, size: 96 });
    });
    after(() => engine.close());

    it('is none as long as nothing is fitted', async () => {
      await assert.rejects(engine.score('*', [await part()]), { code: 'detector-unknown' });
    });

    it('knows each product, and what is neither, by one run of the network', async () => {
      await engine.fit('disc', await parts(8), INPUT);
      await engine.fit('flange', bytes(path.join(folder, 'train/good'), 8), INPUT);
      for (const name of ['disc', 'flange']) await engine.load(name);
      const { embed } = Extractor.prototype;
      let runs = 0;
      Extractor.prototype.embed = function (inputs) {
        runs++;
        return embed.call(this, inputs);
      };
      try {
        const defective = await part({ seed: 9, defect: true });
        const dark = { data: new Uint8Array(96 * 96 * 3).map((_, i) => (i * 7919) % 256), width: 96, height: 96 };
        const flange = bytes(path.join(folder, 'test/good'), 1)[0];
        const images = [await part({ seed: 9 }), defective, flange, { ...dark, channels: 3 as const }];
        const results = (await engine.score('*', images, { map: 'small' })).map(scored);
        assert.deepEqual(
          results.map(({ product }) => product!.name),
          ['disc', 'disc', 'flange', null]
        );
        assert.equal(runs, images.length);
        const alone = scored((await engine.score('disc', [defective], { map: 'small' }))[0]);
        const { score, regions, map } = results[1];
        assert.deepEqual({ score, regions, map }, { score: alone.score, regions: alone.regions, map: alone.map });
        for (const { product } of results) {
          assert.ok(product!.confidence > 0.5 && product!.confidence <= 1);
          assert.equal(product!.name === null, product!.distance >= 1.5);
        }
        assert.ok(results.every(({ timing }) => timing.total >= timing.search));
      } finally {
        Extractor.prototype.embed = embed;
      }
    });

    it('gives an image without a picture its own error, and leaves maps out where none is wanted', async () => {
      const [bad, good] = await engine.score('*', [Buffer.from('no picture'), await part()], { map: false });
      assert.equal((bad as GoodpartsError).code, 'image-format');
      assert.equal(scored(good).map, undefined);
    });

    it('is found among those that can be loaded', async () => {
      await engine.fit('broken', await parts(3), INPUT);
      fs.writeFileSync(path.join(engine.options.store, 'broken/v1/bank.npy'), 'nothing');
      assert.equal(scored((await engine.score('*', [await part()]))[0]).product!.name, 'disc');
    });
  });

  it('tells bottles, cookies and screws apart, defective ones too', async function () {
    const classes = { mvtec_bottle: 'broken_small', aws_cookie: 'broken', mvtec_screw: 'scratch_head' };
    const engine = new Engine({ store: scratch() });
    for (const name of Object.keys(classes))
      await engine.fit(name, bytes(shared(this, 'data', name, 'train/good'), 12), { coresetRatio: 0.02 });
    for (const [name, defect] of Object.entries(classes)) {
      const images = ['good', defect].flatMap(kind => bytes(shared(this, 'data', name, 'test', kind), 2));
      const results = (await engine.score('*', images, { map: false })).map(scored);
      assert.deepEqual(
        results.map(({ product }) => product!.name),
        images.map(() => name)
      );
    }
    await engine.delete('mvtec_bottle');
    const [bottle] = bytes(shared(this, 'data', 'mvtec_bottle/test/good'), 1);
    assert.equal(scored((await engine.score('*', [bottle]))[0]).product!.name, null);
    await engine.close();
  });
});
