import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Backbone, loadBackbone, runBackbone } from '../../lib/engine/backbone';
import { GoodpartsError } from '../../lib/engine/errors';
import { cutModel, pictureInput } from '../../lib/engine/onnx/cut';
import { decodeModel, ModelProto, reencodeModel } from '../../lib/engine/onnx/proto';
import { randomStream } from '../../lib/engine/random';
import { Data, Runtime } from '../../lib/engine/runtime';
import {
  channelsLast,
  halved,
  halvedInside,
  oldFile,
  residualNet,
  transformer,
  written,
  writtenApart
} from './networks';

const refused = (code: string, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof GoodpartsError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, text);
  assert.match(error.message, /^[^\n]{20,400}$/, 'one sentence');
  return true;
};

function noise(count: number, side: number): Data {
  const random = randomStream(4);
  return { data: Float32Array.from({ length: count * 3 * side * side }, random), dims: [count, 3, side, side] };
}

/** Values must agree to the last digits that float32 has. */
function assertSame(got: Data[], expected: Data[], what: string): void {
  assert.deepEqual(
    got.map(map => map.dims),
    expected.map(map => map.dims),
    what
  );
  got.forEach((map, i) => {
    const scale = expected[i].data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    const worst = map.data.reduce((a, b, j) => Math.max(a, Math.abs(b - expected[i].data[j])), 0);
    assert.ok(scale > 0.1 && worst <= 1e-5 * scale, `${what}: layer ${i} differs by ${worst} of ${scale}`);
  });
}

describe('any ONNX network', () => {
  let runtime: Runtime;
  let plain: Data[];
  const picture = noise(2, 224);
  before(async () => {
    runtime = await Runtime.create('cpu');
    plain = (await tapped(written(residualNet().model))).maps;
  });

  /** Loads a file and runs its layers on two pictures. */
  async function tapped(file: string, layers: string[] = []): Promise<{ backbone: Backbone; maps: Data[] }> {
    const backbone = await loadBackbone(runtime, file, layers);
    try {
      return { backbone, maps: await runBackbone(backbone, picture) };
    } finally {
      await backbone.session.release();
    }
  }

  const changed = (change: (model: ModelProto) => void): string => {
    const { model } = residualNet();
    change(model);
    return written(model);
  };

  it('is tapped at strides 8 and 16 where a residual sum ends in a Relu, or where it is told', async () => {
    const { model, taps } = residualNet();
    const file = written(model);
    const { backbone, maps } = await tapped(file);
    assert.deepEqual([backbone.layers, backbone.channels], [taps, [8, 12]]);
    assert.deepEqual(
      maps.map(map => map.dims),
      [
        [2, 8, 28, 28],
        [2, 12, 14, 14]
      ]
    );
    assert.deepEqual([backbone.size, backbone.multiple, backbone.batch], [undefined, 1, true]);
    // any number of layers, in the order that was asked for
    const stem = model.graph.node.find(n => n.opType === 'Relu')!.output[0];
    const three = await tapped(file, [taps[1], stem, taps[0]]);
    assert.deepEqual(three.backbone.channels, [12, 6, 8]);
    assertSame([three.maps[2], three.maps[0]], plain, 'named');
    await assert.rejects(loadBackbone(runtime, file, ['x']), refused('backbone-taps', /no tensor called x/));
    await assert.rejects(loadBackbone(runtime, file, [stem, stem]), refused('backbone-taps', /named twice/));
    const flat = model.graph.node.find(n => n.opType === 'Flatten')!.output[0];
    await assert.rejects(loadBackbone(runtime, file, [flat]), refused('backbone-taps', /is \[1, 12\], neither a map/));
  });

  it('is cut: nothing behind the deepest layer is kept, weights included', () => {
    const { model, taps } = residualNet();
    const whole = reencodeModel(model).length;
    const cut = cutModel(model, taps, pictureInput(model.graph, 'net'), 'net');
    assert.ok(cut.length < whole - 4 * 12 * 5000, `${cut.length} of ${whole} bytes`);
    const { graph } = decodeModel(cut);
    const used = new Set(graph.node.flatMap(n => n.input));
    assert.deepEqual(
      graph.initializer.filter(t => !used.has(t.name!)),
      []
    );
    assert.ok(!graph.node.some(n => n.opType === 'MatMul'));
  });

  it('is tapped the same in every version of the operators from 7 to 21', async () => {
    for (let version = 7; version <= 21; version++) {
      const { maps } = await tapped(changed(model => (model.opsetImport[0].version = version)));
      assertSame(maps, plain, `version ${version}`);
    }
  });

  it('is tapped the same with channels last, old or new IR, half precision, and weights in another file', async () => {
    for (const [what, file] of Object.entries({
      'channels last': written(channelsLast(residualNet())),
      'IR 3': written(oldFile(residualNet())),
      'IR 12': changed(model => (model.irVersion = 12)),
      'half precision': written(halved(residualNet())),
      'half precision inside': written(halvedInside(residualNet())),
      'another file': writtenApart(residualNet())
    }))
      assertSame((await tapped(file)).maps, plain, what);
  });

  it('takes any size and number of pictures where the file names one', async () => {
    const { backbone, maps } = await tapped(written(residualNet(192, 192).model));
    assert.deepEqual([backbone.size, backbone.batch], [undefined, true]);
    assertSame(maps, plain, 'fixed in the file only');
  });

  it('is computed picture by picture where it was exported for one', async () => {
    // the shape of one picture's map is written into the network
    const file = changed(({ graph }) => {
      const [first] = graph.node;
      const [made] = first.output;
      first.output = ['before'];
      const shape = new Uint8Array(BigInt64Array.of(1n, 6n, -1n).buffer);
      const back = new Uint8Array(BigInt64Array.of(1n, 6n, 56n, 56n).buffer);
      graph.initializer.push({ name: 'flat', dims: [3], dataType: 7, rawData: shape });
      graph.initializer.push({ name: 'back', dims: [4], dataType: 7, rawData: back });
      graph.node.splice(
        1,
        0,
        { opType: 'Reshape', input: ['before', 'flat'], output: ['one'], attribute: [] },
        { opType: 'Reshape', input: ['one', 'back'], output: [made], attribute: [] }
      );
      graph.input[0].type!.tensorType!.shape!.dim = [1, 3, 224, 224].map(dimValue => ({ dimValue }));
    });
    const { backbone, maps } = await tapped(file);
    assert.deepEqual([backbone.size, backbone.batch], [{ width: 224, height: 224 }, false]);
    assertSame(maps, plain, 'one by one');
  });

  it('keeps its size where a pool of fixed size stands for the mean of the map', async () => {
    const file = changed(({ graph }) => {
      const relu = graph.node.find(n => n.opType === 'Relu')!;
      const [made] = relu.output;
      relu.output = ['map'];
      const kernel = { name: 'kernel_shape', type: 7, ints: [56, 56] };
      graph.node.splice(
        graph.node.indexOf(relu) + 1,
        0,
        { opType: 'AveragePool', input: ['map'], output: ['mean'], attribute: [kernel] },
        { opType: 'Mul', input: ['map', 'mean'], output: [made], attribute: [] }
      );
      graph.input[0].type!.tensorType!.shape!.dim = [1, 3, 224, 224].map(dimValue => ({ dimValue }));
    });
    assert.deepEqual((await tapped(file)).backbone.size, { width: 224, height: 224 });
  });

  it('is tapped without residual sums, too: at the last concat, else at the last activation', async () => {
    const withoutSums = (kind: string) =>
      changed(({ graph }) => {
        for (const n of graph.node)
          if (n.opType === 'Add') {
            n.opType = kind;
            if (kind === 'Concat') n.attribute = [{ name: 'axis', type: 2, i: 1 }];
            else n.input = [n.input[0]];
          }
        // the weights behind expect one part of the concat only
        for (const n of graph.node)
          if (
            kind === 'Concat' &&
            n.opType === 'Relu' &&
            graph.node.some(c => c.opType === 'Concat' && c.output[0] === n.input[0])
          ) {
            const concat = graph.node.find(c => c.output[0] === n.input[0])!;
            n.input = [concat.input[0]];
          }
      });
    const plainNet = await tapped(withoutSums('Identity'));
    assert.deepEqual(plainNet.backbone.channels, [8, 12]);
    const concats = await tapped(withoutSums('Concat'));
    assert.deepEqual(concats.backbone.channels, [16, 24]);
  });

  it('gives the tokens of a transformer, whatever stands before them', async () => {
    for (const norm of ['whole', 'parts'] as const)
      for (const others of [0, 1, 5]) {
        const net = transformer({ others, norm });
        const { backbone, maps } = await tapped(written(net.model)).catch(error => {
          throw new Error(`${norm} ${others}: ${error}`);
        });
        assert.deepEqual([backbone.layers, backbone.channels], [net.taps, [6]]);
        assert.deepEqual(backbone.forms, [{ kind: 'tokens', patch: 14 }]);
        assert.deepEqual([backbone.size, backbone.multiple, backbone.batch], [undefined, 14, true]);
        assert.deepEqual(maps[0].dims, [2, others + 256, 6]);
      }
    const net = transformer({ positions: 16, others: 5 });
    const { backbone } = await tapped(written(net.model));
    assert.deepEqual([backbone.size, backbone.forms], [{ width: 224, height: 224 }, [{ kind: 'tokens', patch: 14 }]]);
    const named = await tapped(written(net.model), [net.block]);
    assert.deepEqual(named.backbone.forms, [{ kind: 'tokens', patch: 14 }]);
  });

  it('is refused with the reason where it cannot be a backbone', async () => {
    const input = (model: ModelProto) => model.graph.input[0].type!.tensorType!;
    for (const [change, code, text] of [
      [m => (m.opsetImport[0].version = 6), 'backbone-operators', /version 6 of the ONNX operators.*7 or newer/],
      [
        m => (m.opsetImport[0].version = 99),
        'backbone-operators',
        /version 99 of the ONNX operators.*up to version \d\d/
      ],
      [m => (m.graph.node[0].opType = 'Convolve'), 'backbone-operators', /the operator Convolve.*standard operators/],
      [m => (input(m).shape!.dim[1] = { dimValue: 1 }), 'backbone-input', /pictures of 1 channels instead of 3/],
      [m => (input(m).elemType = 2), 'backbone-input', /another number type/],
      [m => input(m).shape!.dim.pop(), 'backbone-input', /takes no picture/],
      [
        m => {
          m.graph.input.push({ name: 'second', type: { tensorType: { elemType: 1, shape: { dim: [] } } } });
          m.graph.node.find(n => n.opType === 'Add')!.input[1] = 'second';
        },
        'backbone-input',
        /needs a second input, second/
      ],
      [m => m.graph.node.splice(3), 'backbone-taps', /No layers at strides 8 and 16/]
    ] as [(m: ModelProto) => void, string, RegExp][])
      await assert.rejects(loadBackbone(runtime, changed(change), []), refused(code, text));
  });

  it('is refused where the file with its weights is missing, cut off or elsewhere', async () => {
    const file = writtenApart(residualNet());
    const data = path.join(path.dirname(file), 'net.onnx_data');
    const bytes = fs.readFileSync(data);
    const { sha256 } = await loadBackbone(runtime, file, []);
    bytes[0] ^= 1;
    fs.writeFileSync(data, bytes);
    assert.notEqual((await loadBackbone(runtime, file, [])).sha256, sha256, 'other weights, another backbone');
    fs.writeFileSync(data, bytes.subarray(0, 5000));
    await assert.rejects(loadBackbone(runtime, file, []), refused('backbone-unreadable', /net.onnx_data is cut off/));
    fs.rmSync(data);
    await assert.rejects(loadBackbone(runtime, file, []), refused('backbone-missing', /net.onnx_data.*same folder/));
    for (const place of ['../net.onnx_data', '/net.onnx_data'])
      await assert.rejects(
        loadBackbone(runtime, writtenApart(residualNet(), place), []),
        refused('backbone-unreadable', /which is not beside it/)
      );
  });
});
