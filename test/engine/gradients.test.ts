import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { randomStream } from '../../lib/engine/random';
import { Runtime, type Data } from '../../lib/engine/runtime';
import { Autoencoder } from '../../lib/engine/train/autoencoder';
import { EfficientAd } from '../../lib/engine/train/efficientad';
import { stepGraph, type Task } from '../../lib/engine/train/step';
import { sizeOf, Tape, type Shape, type Value } from '../../lib/engine/train/tape';
import { ROOT } from '../support';

interface Fixture {
  operations: { name: string; loss: number; gradients: number[][] }[];
  networks: { name: string; losses: number[]; gradients: number[]; weights: number[] }[];
}

/** What PyTorch says; test/fixtures/gradients.py made it, and names the operations and their options in the same order. */
const fixture = JSON.parse(fs.readFileSync(path.join(ROOT, 'test/fixtures/gradients.json'), 'utf8')) as Fixture;

type Operation = [shapes: Shape[], write: (tape: Tape, x: Value[]) => Value];
const conv =
  (stride: number, pad: number): Operation[1] =>
  (tape, [x, w, b]) =>
    tape.conv(x, w, b, { stride, pad });

const OPERATIONS: Record<string, Operation> = {
  'conv 3x3': [[[2, 3, 6, 5], [4, 3, 3, 3], [4]], conv(1, 1)],
  'conv 3x3 stride 2': [[[2, 3, 8, 6], [4, 3, 3, 3], [4]], conv(2, 1)],
  'conv 4x4 stride 2': [[[2, 3, 8, 6], [4, 3, 4, 4], [4]], conv(2, 1)],
  'conv 2x3 without padding': [[[1, 2, 5, 7], [3, 2, 2, 3], [3]], conv(1, 0)],
  'conv 1x1': [[[2, 4, 3, 3], [5, 4, 1, 1], [5]], conv(1, 0)],
  'conv padded beyond its kernel': [[[1, 2, 4, 4], [3, 2, 2, 2], [3]], conv(1, 2)],
  relu: [[[2, 3, 4, 4]], (tape, [x]) => tape.relu(x)],
  leakyRelu: [[[2, 3, 4, 4]], (tape, [x]) => tape.leakyRelu(x, 0.2)],
  sigmoid: [[[2, 3, 4, 4]], (tape, [x]) => tape.sigmoid(x)],
  averagePool: [[[2, 3, 4, 6]], (tape, [x]) => tape.averagePool(x, 2)],
  'averagePool 2x3': [[[2, 3, 4, 6]], (tape, [x]) => tape.averagePool(x, 2, 3)],
  upsample: [[[2, 3, 4, 3]], (tape, [x]) => tape.upsample(x, 2)],
  'upsample 2x3': [[[2, 3, 4, 3]], (tape, [x]) => tape.upsample(x, 2, 3)],
  channels: [[[2, 5, 3, 3]], (tape, [x]) => tape.channels(x, 1, 4)],
  add: [
    [
      [2, 3, 4],
      [2, 3, 4]
    ],
    (tape, [a, b]) => tape.add(a, b)
  ],
  sub: [
    [
      [2, 3, 4],
      [2, 3, 4]
    ],
    (tape, [a, b]) => tape.sub(a, b)
  ],
  mul: [
    [
      [2, 3, 4],
      [2, 3, 4]
    ],
    (tape, [a, b]) => tape.mul(a, b)
  ],
  square: [[[2, 3, 4]], (tape, [x]) => tape.square(x)],
  mean: [[[2, 3, 4]], (tape, [x]) => tape.mean(x)],
  meanSquaredError: [
    [
      [2, 3, 4],
      [2, 3, 4]
    ],
    (tape, [a, b]) => tape.meanSquaredError(a, b)
  ],
  meanOfHardest: [[[2, 3, 4, 5]], (tape, [x]) => tape.meanOfHardest(x, 0.9)],
  twice: [[[2, 3, 4, 4]], (tape, [x]) => tape.add(tape.mul(tape.sigmoid(x), x), x)]
};

const NETWORKS: Record<string, Task> = {
  autoencoder: new Autoencoder({ batch: 2, width: 12, height: 16, channels: [4, 6] }),
  efficientad: new EfficientAd({
    batch: 2,
    width: 32,
    height: 64,
    features: 5,
    student: [4, 5, 6],
    autoencoder: 4,
    latent: 3,
    hard: 0.999
  })
};

const drawn = (random: () => number, shape: Shape, low = -1, high = 1): Data => ({
  data: Float32Array.from({ length: sizeOf(shape) }, () => low + (high - low) * random()),
  dims: shape
});

/** Within 1e-4 of the largest number that is expected, unless something else is said. */
function assertNear(actual: ArrayLike<number>, expected: number[], what: string, within = 1e-4): void {
  assert.equal(actual.length, expected.length, what);
  const largest = expected.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  const off = expected.reduce((m, x, i) => Math.max(m, Math.abs(x - actual[i])), 0);
  assert.ok(off <= within * largest, `${what}: off by ${off}, where the largest is ${largest}`);
}

describe('gradients', () => {
  let runtime: Runtime;
  before(async () => {
    runtime = await Runtime.create('cpu');
  });

  it("are all checked: the fixture's cases are the test's", () => {
    assert.deepEqual(
      fixture.operations.map(o => o.name),
      Object.keys(OPERATIONS)
    );
    assert.deepEqual(
      fixture.networks.map(n => n.name),
      Object.keys(NETWORKS)
    );
  });

  for (const [i, { name, loss, gradients }] of fixture.operations.entries())
    it(`${name}: as PyTorch derives it`, async () => {
      const [shapes, write] = OPERATIONS[name];
      const random = randomStream(i + 1);
      const feeds = Object.fromEntries(shapes.map((shape, k) => [`x${k}`, drawn(random, shape)]));
      const tape = new Tape();
      const inputs = shapes.map((shape, k) => tape.value(tape.g.input(`x${k}`, 'float', [...shape]), shape, true));
      const y = write(tape, inputs);
      let scalar = y;
      if (y.shape.length) {
        const { data } = drawn(random, y.shape);
        scalar = tape.mean(tape.mul(y, tape.value(tape.g.floats(data, [...y.shape]), y.shape)));
      }
      tape.backward(scalar);
      tape.g.output(scalar.name, 'loss', 'float', []);
      inputs.forEach((x, k) => tape.g.output(tape.gradient(x), `gradient${k}`, 'float', [...x.shape]));
      const session = await runtime.session(tape.g.build());
      const found = await session.run(feeds);
      assertNear(found.loss.data, [loss], 'loss');
      gradients.forEach((expected, k) => {
        assert.deepEqual(found[`gradient${k}`].dims, shapes[k]);
        assertNear(found[`gradient${k}`].data, expected, `gradient by input ${k}`);
      });
      await session.release();
    });

  for (const [i, expected] of fixture.networks.entries())
    it(`${expected.name}: gradients, and weights after three Adam steps, as PyTorch's`, async () => {
      const task = NETWORKS[expected.name];
      const { size } = task.parameters;
      const random = randomStream(100 + i);
      const dims = [size];
      const start = task.parameters.initial(random);
      let state: Data[] = [start, new Float32Array(size), new Float32Array(size)].map(data => ({ data, dims }));
      const inputs = Object.entries(task.inputs);
      // the fixture draws both pictures first, then what a teacher says of them
      inputs.sort(([a], [b]) => Number(a.includes('teacher')) - Number(b.includes('teacher')));
      const feeds = Object.fromEntries(
        inputs.map(([name, shape]) => [name, drawn(random, shape, name.includes('teacher') ? -1 : 0)])
      );
      const session = await runtime.session(stepGraph(task, true));
      for (const [k, loss] of expected.losses.entries()) {
        const [weights, moment1, moment2] = state;
        const step = { data: Float32Array.of(k + 1), dims: [] };
        const rate = { data: Float32Array.of(1e-3), dims: [] };
        const found = await session.run({ ...feeds, weights, moment1, moment2, step, rate });
        assertNear(found.loss.data, [loss], `loss of step ${k + 1}`);
        if (k === 0) assertNear(found.gradients.data, expected.gradients, 'gradients');
        state = [found.weights_next, found.moment1_next, found.moment2_next];
      }
      const change = (weights: ArrayLike<number>): number[] => Array.from(start, (w, k) => weights[k] - w);
      assertNear(state[0].data, expected.weights, 'weights');
      // float32 holds a weight of .3 to 3e-8, which is 1e-5 of what three steps change
      assertNear(change(state[0].data), change(expected.weights), 'change of the weights', 1e-3);
      await session.release();
    });
});
