import { GraphBuilder } from '../onnx/builder';

export type Shape = readonly number[];

/** A float32 tensor of a graph that is being written. Its shape is known; `learns`: the loss is to be derived by it. */
export interface Value {
  readonly name: string;
  readonly shape: Shape;
  readonly learns: boolean;
}

export interface ConvOptions {
  stride?: number;
  /** zeros around the picture, on every side */
  pad?: number;
}

export const sizeOf = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);

/**
 * Writes a network into an ONNX graph and remembers how each operation is derived, so that `backward` can write the gradients behind it:
 * reverse-mode differentiation, with standard operators only. Pictures are [N, C, H, W]. A graph that is never derived may be run with
 * any N.
 */
export class Tape {
  private readonly rules: (() => void)[] = [];
  /** tensor -> the tensor of its gradient, as far as it is summed up by now */
  private readonly gradients = new Map<string, string>();

  constructor(readonly g = new GraphBuilder()) {}

  /** A tensor that the graph holds already, or takes as an input. */
  value(name: string, shape: Shape, learns = false): Value {
    return { name, shape, learns };
  }

  /** @param weight [O, C, kh, kw] */
  conv(x: Value, weight: Value, bias: Value, { stride = 1, pad = 0 }: ConvOptions = {}): Value {
    const [n, , height, width] = x.shape;
    const [channels, , kh, kw] = weight.shape;
    const out = (side: number, k: number): number => Math.floor((side + 2 * pad - k) / stride) + 1;
    const attributes = { kernel_shape: [kh, kw], strides: [stride, stride], pads: [pad, pad, pad, pad] };
    const y = this.add_('Conv', [x, weight, bias], [n, channels, out(height, kh), out(width, kw)], attributes);
    return this.rule(y, dy => {
      this.pass(x, () => this.convInput(dy, x, weight, y, stride, pad));
      this.pass(weight, () => this.convWeight(dy, x, weight, y, stride, pad));
      this.pass(bias, () => this.g.op('ReduceSum', [dy, this.g.ints(0, 2, 3)], { keepdims: 0 }));
    });
  }

  relu(x: Value): Value {
    const { g } = this;
    const y = this.add_('Relu', [x], x.shape);
    return this.rule(y, dy =>
      this.pass(x, () => g.op('Where', [g.op('Greater', [y.name, g.scalar(0)]), dy, g.scalar(0)]))
    );
  }

  leakyRelu(x: Value, slope: number): Value {
    const { g } = this;
    const y = this.add_('LeakyRelu', [x], x.shape, { alpha: { float: slope } });
    return this.rule(y, dy =>
      this.pass(x, () =>
        g.op('Where', [g.op('Greater', [x.name, g.scalar(0)]), dy, g.op('Mul', [dy, g.scalar(slope)])])
      )
    );
  }

  sigmoid(x: Value): Value {
    const { g } = this;
    const y = this.add_('Sigmoid', [x], x.shape);
    return this.rule(y, dy =>
      this.pass(x, () => g.op('Mul', [dy, g.op('Mul', [y.name, g.op('Sub', [g.scalar(1), y.name])])]))
    );
  }

  /** Means of blocks of `rows` x `columns` pixels, which must divide the picture. */
  averagePool(x: Value, rows: number, columns = rows): Value {
    const [n, c, h, w] = x.shape;
    const size = [rows, columns];
    const y = this.add_('AveragePool', [x], [n, c, h / rows, w / columns], { kernel_shape: size, strides: size });
    return this.rule(y, dy =>
      this.pass(x, () => this.g.op('Mul', [this.enlarge(dy, rows, columns), this.g.scalar(1 / (rows * columns))]))
    );
  }

  /** Each pixel becomes a block of `rows` x `columns` pixels. */
  upsample(x: Value, rows: number, columns = rows): Value {
    const [n, c, h, w] = x.shape;
    const y = this.value(this.enlarge(x.name, rows, columns), [n, c, h * rows, w * columns], x.learns);
    const size = [rows, columns];
    return this.rule(y, dy =>
      this.pass(x, () => {
        const mean = this.g.op('AveragePool', [dy], { kernel_shape: size, strides: size });
        return this.g.op('Mul', [mean, this.g.scalar(rows * columns)]);
      })
    );
  }

  /** Channels `from` (inclusive) to `to` (exclusive). */
  channels(x: Value, from: number, to: number): Value {
    const { g } = this;
    const [n, c, ...rest] = x.shape;
    const cut = g.op('Slice', [x.name, g.ints(from), g.ints(to), g.ints(1)]);
    const y = this.value(cut, [n, to - from, ...rest], x.learns);
    return this.rule(y, dy =>
      this.pass(x, () => g.op('Pad', [dy, g.ints(0, from, 0, 0, 0, c - to, 0, 0), g.scalar(0)]))
    );
  }

  /** Of two tensors of one shape, as `sub` and `mul`. */
  add(a: Value, b: Value): Value {
    return this.rule(this.add_('Add', [a, b], a.shape), dy => {
      this.pass(a, () => dy);
      this.pass(b, () => dy);
    });
  }

  sub(a: Value, b: Value): Value {
    return this.rule(this.add_('Sub', [a, b], a.shape), dy => {
      this.pass(a, () => dy);
      this.pass(b, () => this.g.op('Neg', [dy]));
    });
  }

  mul(a: Value, b: Value): Value {
    return this.rule(this.add_('Mul', [a, b], a.shape), dy => {
      this.pass(a, () => this.g.op('Mul', [dy, b.name]));
      this.pass(b, () => this.g.op('Mul', [dy, a.name]));
    });
  }

  /** The mean of all numbers, a scalar. */
  mean(x: Value): Value {
    const y = this.add_('ReduceMean', [x], [], { keepdims: 0 });
    return this.rule(y, dy => this.pass(x, () => this.spread(dy, x.shape, 1 / sizeOf(x.shape))));
  }

  /** Mean squared error, a scalar. */
  meanSquaredError(a: Value, b: Value): Value {
    return this.mean(this.square(this.sub(a, b)));
  }

  square(x: Value): Value {
    return this.mul(x, x);
  }

  /**
   * The mean of the largest numbers only, those at the `quantile` and above, a scalar: the loss looks at what is hard.
   * Source: Batzner et al., EfficientAD (2024), sec. 3.2.
   */
  meanOfHardest(x: Value, quantile: number): Value {
    const { g } = this;
    const size = sizeOf(x.shape);
    const count = Math.max(1, size - Math.ceil(quantile * (size - 1)));
    const flat = g.op('Reshape', [x.name, g.ints(-1)]);
    const [largest] = g.ops('TopK', [flat, g.ints(count)], { sorted: 0 }, 2);
    const y = this.value(g.op('ReduceMean', [largest], { keepdims: 0 }), [], x.learns);
    return this.rule(y, dy =>
      this.pass(x, () => {
        const limit = g.op('ReduceMin', [largest], { keepdims: 0 });
        const hard = g.op('Cast', [g.op('GreaterOrEqual', [x.name, limit])], { to: 1 });
        return g.op('Mul', [hard, g.op('Mul', [dy, g.scalar(1 / count)])]);
      })
    );
  }

  /** Writes the gradients of a scalar by all that learns; `gradient` names them then. */
  backward(loss: Value): void {
    this.gradients.set(loss.name, this.g.scalar(1));
    for (const rule of this.rules.reverse()) rule();
  }

  /** The tensor that holds the gradient of the loss by a value, of the value's shape. */
  gradient({ name, shape }: Value): string {
    return this.gradients.get(name) ?? this.spread(this.g.scalar(0), shape, 1);
  }

  private add_(opType: string, from: Value[], shape: Shape, attributes: Parameters<GraphBuilder['op']>[2] = {}): Value {
    const inputs = from.map(v => v.name);
    return this.value(
      this.g.op(opType, inputs, attributes),
      shape,
      from.some(v => v.learns)
    );
  }

  private rule(y: Value, derive: (dy: string) => void): Value {
    if (y.learns)
      this.rules.push(() => {
        const dy = this.gradients.get(y.name);
        if (dy) derive(dy);
      });
    return y;
  }

  /** Adds to the gradient of `x`, where it is wanted. */
  private pass({ name, learns }: Value, gradient: () => string): void {
    if (!learns) return;
    const known = this.gradients.get(name);
    const more = gradient();
    this.gradients.set(name, known ? this.g.op('Add', [known, more]) : more);
  }

  private spread(scalar: string, shape: Shape, factor: number): string {
    const { g } = this;
    return g.op('Expand', [g.op('Mul', [scalar, g.scalar(factor)]), g.ints(...shape)]);
  }

  private enlarge(x: string, rows: number, columns: number): string {
    const scales = this.g.floats(Float32Array.of(1, 1, rows, columns), [4]);
    const how = { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' };
    return this.g.op('Resize', [x, '', scales], how);
  }

  /**
   * A convolution's gradient by its picture is a convolution with the kernel turned round; with a stride it is what ConvTranspose
   * computes, which for stride 1 takes up to three times as long.
   */
  private convInput(dy: string, x: Value, weight: Value, y: Value, stride: number, pad: number): string {
    const { g } = this;
    const [kh, kw] = weight.shape.slice(2);
    const left = [0, 1].map(i => x.shape[2 + i] + 2 * pad - [kh, kw][i] - (y.shape[2 + i] - 1) * stride);
    if (stride > 1 || pad >= Math.min(kh, kw))
      return g.op('ConvTranspose', [dy, weight.name], {
        kernel_shape: [kh, kw],
        strides: [stride, stride],
        pads: [pad, pad, pad, pad],
        output_padding: left
      });
    const [back, end] = [g.ints(-1, -1), g.ints(-kh - 1, -kw - 1)];
    const turned = g.op('Slice', [weight.name, back, end, g.ints(2, 3), back]);
    const [ph, pw] = [kh - 1 - pad, kw - 1 - pad];
    return g.op('Conv', [dy, g.op('Transpose', [turned], { perm: [1, 0, 2, 3] })], {
      kernel_shape: [kh, kw],
      pads: [ph, pw, ph, pw]
    });
  }

  /**
   * A convolution's gradient by its kernel: for each of the kernel's places a product of what lies under it, [C, N * h * w], and the
   * gradient, [O, N * h * w]. (As one Conv with the roles exchanged it takes up to three times as long.)
   */
  private convWeight(dy: string, x: Value, weight: Value, y: Value, stride: number, pad: number): string {
    const { g } = this;
    const [channels, depth, kh, kw] = weight.shape;
    const [n, , h, w] = y.shape;
    const channelsFirst = (t: string): string => g.op('Transpose', [t], { perm: [1, 0, 2, 3] });
    const gradient = g.op('Reshape', [channelsFirst(dy), g.ints(channels, n * h * w)]);
    const turned = channelsFirst(x.name);
    const padded = pad ? g.op('Pad', [turned, g.ints(0, 0, pad, pad, 0, 0, pad, pad), g.scalar(0)]) : turned;
    const places: string[] = [];
    for (let i = 0; i < kh; i++)
      for (let j = 0; j < kw; j++) {
        const end = g.ints(i + (h - 1) * stride + 1, j + (w - 1) * stride + 1);
        const under = g.op('Slice', [padded, g.ints(i, j), end, g.ints(2, 3), g.ints(stride, stride)]);
        const flat = g.op('Reshape', [under, g.ints(depth, n * h * w)]);
        places.push(g.op('Unsqueeze', [g.op('Gemm', [gradient, flat], { transB: 1 }), g.ints(2)]));
      }
    return g.op('Reshape', [g.op('Concat', places, { axis: 2 }), g.ints(...weight.shape)]);
  }
}
