import assert from 'node:assert/strict';
import { Engine } from '../../lib/engine';
import { evaluate } from '../../lib/evaluate';
import { readMvtec } from '../../lib/mvtec';
import { scratch, shared } from '../support';

/** Figures of an independent implementation: anomalib preset, 256 px, ResNet50, 1 % coreset. The screw takes minutes: `goodparts evaluate`. */
const REFERENCE = [
  { name: 'mvtec_bottle', image: 1, pixel: 0.986 },
  { name: 'aws_cookie', image: 0.939, pixel: 0.954 }
];

describe('accuracy on real images', () => {
  for (const { name, image, pixel } of REFERENCE)
    it(`${name}: AUROC within .015 of an independent implementation`, async function () {
      this.timeout(300000);
      const folder = shared(this, 'data', name);
      const backbone = shared(this, 'weights', 'resnet50v2_l23.onnx');
      const engine = new Engine({ store: scratch() });
      const settings = { backbone, coresetRatio: 0.01 };
      const { evaluation } = await evaluate(engine, await readMvtec(folder), settings);
      await engine.close();
      assert.ok(Math.abs(evaluation.image_auroc! - image) <= 0.015, `image AUROC ${evaluation.image_auroc}`);
      assert.ok(Math.abs(evaluation.pixel_auroc! - pixel) <= 0.015, `pixel AUROC ${evaluation.pixel_auroc}`);
    });
});
