import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { loadBackbone, runBackbone } from '../../lib/engine/backbone';
import { Runtime } from '../../lib/engine/runtime';
import { ROOT } from '../support';

/** What export.py wrote down of a network: what PyTorch gives, every 997th number of each layer. */
interface Expected {
  size: number;
  opset: number;
  ir: number;
  shapes: number[][];
  values: number[][];
}

const FOLDER = path.join(ROOT, 'test/.cache/models');
const FACTS = path.join(FOLDER, 'expected.json');

/** The only difference that is accepted: float32 in another order, and for half precision the rounding of the weights. */
const tolerance = (name: string): number => (name.endsWith('fp16') ? 2e-2 : 1e-3);

function assertClose(name: string, got: Float32Array, expected: number[]): void {
  const scale = Math.max(...expected.map(Math.abs));
  expected.forEach((value, i) => {
    const difference = Math.abs(got[997 * i] - value) / scale;
    assert.ok(difference < tolerance(name), `${name}: number ${997 * i} is ${got[997 * i]} instead of ${value}`);
  });
}

/**
 * Networks of every family in the catalogue, exported by export.py, tapped by their structure alone. The taps must be the very layers
 * that PyTorch's modules give: of a network layer2 and layer3, of a transformer the normed tokens.
 */
describe('networks exported from torchvision and timm', () => {
  const found = fs.existsSync(FACTS) ? (JSON.parse(fs.readFileSync(FACTS, 'utf8')) as Record<string, Expected>) : {};
  if (!Object.keys(found).length)
    it('are tapped by their structure', function () {
      console.log('      skipped: test/.cache/models is not here; python test/models/export.py makes it');
      this.skip();
    });
  for (const [name, expected] of Object.entries(found))
    it(name, async function () {
      this.timeout(120000);
      const runtime = await Runtime.create('cpu');
      const backbone = await loadBackbone(runtime, path.join(FOLDER, `${name}.onnx`), []);
      try {
        const bytes = fs.readFileSync(path.join(FOLDER, `${name}.picture.f32`));
        const picture = new Float32Array(new Uint8Array(bytes).buffer);
        const { size } = expected;
        const maps = await runBackbone(backbone, { data: picture, dims: [1, 3, size, size] });
        assert.deepEqual(
          maps.map(m => m.dims),
          expected.shapes
        );
        maps.forEach((m, i) => assertClose(name, m.data, expected.values[i]));
        if (process.env.GOODPARTS_TABLE) console.log(row(name, expected, backbone));
      } finally {
        await backbone.session.release();
      }
    });
});

/** A line for the table in docs/any-onnx.md. */
function row(name: string, { opset, ir }: Expected, backbone: Awaited<ReturnType<typeof loadBackbone>>): string {
  const { layers, channels, forms, size, multiple, batch } = backbone;
  const sizes = size ? `${size.width} x ${size.height} only` : multiple > 1 ? `multiples of ${multiple}` : 'any';
  const kinds = [...new Set(forms.map(form => form.kind))].join();
  return `| ${name} | ${opset} | ${ir} | ${layers.map(l => `\`${l}\``).join(', ')} | ${channels.join(', ')} | ${kinds} | ${sizes} | ${batch ? 'any' : 'one'} |`;
}
