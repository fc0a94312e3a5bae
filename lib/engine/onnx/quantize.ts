import { attribute } from './builder';
import { convolution, dimsOf, Draft, floatsOf, scalingOf, tensorOf } from './fold';
import { Plan, planOf } from './plan';
import { AttributeProto, DataType, GraphProto, ModelProto, NodeProto, TensorProto } from './proto';

/** What a tensor [N, channels, rows, columns] is like over the calibration pictures. */
export interface Range {
  low: number;
  high: number;
  channels: number;
  rows: number;
  columns: number;
}
/** By name of the tensor. */
export type Ranges = Map<string, Range>;

/** The tensors whose ranges `quantize` needs, in an order that depends on the model alone. */
export const rangeTensors = (model: ModelProto): string[] => planOf(model).tensors;

/**
 * The model with its convolutions, and what lies between them, in 8 bits: unsigned for what flows, signed with one scale a channel
 * for weights. Written in the QDQ form of the ONNX standard (QuantizeLinear and DequantizeLinear around float operators, opset 13),
 * which ONNX Runtime fuses into integer kernels on CPUs. Inputs and outputs of the graph stay float32.
 * @param ranges of every tensor that `rangeTensors` names
 */
export function quantize(model: ModelProto, ranges: Ranges): ModelProto {
  return new Quantizer(model, planOf(model), ranges).run();
}

class Quantizer {
  private readonly node: NodeProto[] = [];
  private readonly initializer: TensorProto[] = [];
  private readonly scales: Map<string, Scale>;
  private readonly inBytes: Set<string>;

  constructor(
    private readonly model: ModelProto,
    private readonly plan: Plan,
    private readonly ranges: Ranges
  ) {
    this.inBytes = new Set(plan.ends.values());
    this.scales = scalesOf(plan, ranges);
  }

  run(): ModelProto {
    const { draft, swallowed } = this.plan;
    this.initializer.push(...draft.constants.values());
    this.model.graph.input.forEach(i => this.round(i.name, i.name));
    for (const node of draft.node) if (!swallowed.has(node)) this.add(node);
    const used = new Set(this.node.flatMap(n => n.input));
    const initializer = this.initializer.filter(t => used.has(t.name!));
    // a layer of the patches is dequantised under its own name, and once more only where the network goes on from it
    const node = this.node.filter(n => n.output.some(name => used.has(name) || this.plan.outputs.has(name)));
    const graph: GraphProto = { ...this.model.graph, node, initializer };
    return { ...this.model, graph };
  }

  private add(node: NodeProto): void {
    const end = this.plan.ends.get(node);
    if (end === undefined) {
      const input = node.input.map(name => (this.inBytes.has(name) ? roundedName(name) : name));
      const { opType, domain, attribute, output } = node;
      this.node.push({ opType, domain, attribute, input, output });
      node.output.forEach(name => this.round(opType === 'MaxPool' ? this.clamped(name) : name, name));
      return;
    }
    const form = asConvolution(node, this.plan.draft, this.ranges);
    const input =
      form.opType === 'Conv'
        ? [roundedName(form.input[0]), ...this.weights(form, this.scales.get(form.input[0])!.step)]
        : form.input.map(roundedName);
    const exact = `${end}:float`;
    this.node.push({ opType: form.opType, attribute: form.attribute, input, output: [exact] });
    this.round(exact, end);
  }

  /**
   * A tensor within the range that rounding leaves anyway. ONNX Runtime would round before a pool instead of after it (its
   * QDQPropagation), and pool bytes channel by channel: 3 of 9 ms of a ResNet18. It does not reach beyond a Clip.
   */
  private clamped(name: string): string {
    const scale = this.scales.get(name);
    if (!scale || this.plan.outputs.has(name)) return name;
    const { step, zero } = scale;
    const [low, high, output] = [`${name}:low`, `${name}:high`, `${name}:clamped`];
    this.initializer.push(
      tensorOf(low, DataType.float, Float32Array.of(-zero * step), []),
      tensorOf(high, DataType.float, Float32Array.of((255 - zero) * step), [])
    );
    this.node.push({ opType: 'Clip', input: [name, low, high], output: [output], attribute: [] });
    return output;
  }

  /** Rounds `exact`; the result stands for the tensor `name`. */
  private round(exact: string, name: string): void {
    const scale = this.scales.get(name);
    if (!scale) return;
    const [step, zero, bytes] = [`${name}:scale`, `${name}:zero`, `${name}:bytes`];
    this.initializer.push(
      tensorOf(step, DataType.float, Float32Array.of(scale.step), []),
      tensorOf(zero, DataType.uint8, Uint8Array.of(scale.zero), [])
    );
    this.node.push(
      { opType: 'QuantizeLinear', input: [exact, step, zero], output: [bytes], attribute: [] },
      { opType: 'DequantizeLinear', input: [bytes, step, zero], output: [roundedName(name)], attribute: [] }
    );
    if (exact !== name && this.plan.outputs.has(name))
      this.node.push({ opType: 'DequantizeLinear', input: [bytes, step, zero], output: [name], attribute: [] });
  }

  /** Weights and bias of a convolution as dequantised integers; returns their names. */
  private weights({ input, output }: NodeProto, step: number): string[] {
    const { constants } = this.plan.draft;
    const tensor = constants.get(input[1])!;
    const dims = dimsOf(tensor);
    const weights = floatsOf(tensor)!;
    const bias = input[2] ? floatsOf(constants.get(input[2])) : undefined;
    const size = weights.length / dims[0];
    const scales = Float32Array.from({ length: dims[0] }, (_, c) => {
      const largest = weights.subarray(c * size, (c + 1) * size).reduce((m, w) => Math.max(m, Math.abs(w)), 0);
      // a bias far above all weights has to fit into 32 bits
      return Math.max(largest / 127, Math.abs(bias?.[c] ?? 0) / step / 2 ** 30) || 1;
    });
    const bytes = Int8Array.from(weights, (w, i) => Math.round(w / scales[Math.floor(i / size)]));
    const names = [this.dequantized(`${output[0]}:w`, DataType.int8, bytes, dims, scales)];
    if (!bias) return names;
    const steps = scales.map(s => s * step);
    const whole = Int32Array.from(bias, (b, c) => Math.round(b / steps[c]));
    return [...names, this.dequantized(`${output[0]}:b`, DataType.int32, whole, [whole.length], steps)];
  }

  private dequantized(
    name: string,
    type: number,
    values: Int8Array | Int32Array,
    dims: number[],
    scales: Float32Array
  ): string {
    const zeros = type === DataType.int8 ? new Int8Array(scales.length) : new Int32Array(scales.length);
    const input = [`${name}:integers`, `${name}:scale`, `${name}:zero`];
    this.initializer.push(
      tensorOf(input[0], type, values, dims),
      tensorOf(input[1], DataType.float, scales, [scales.length]),
      tensorOf(input[2], type, zeros, [scales.length])
    );
    this.node.push({ opType: 'DequantizeLinear', input, output: [name], attribute: [attribute('axis', 0)] });
    return name;
  }
}

const roundedName = (name: string): string => `${name}:rounded`;

interface Scale {
  step: number;
  zero: number;
}

function scalesOf({ ends, tensors }: Plan, ranges: Ranges): Map<string, Scale> {
  // the maximum of bytes is one of them: same scale
  const pools = new Map([...ends].flatMap(([n, end]) => (n.opType === 'MaxPool' ? [[end, n.input[0]]] : [])));
  return new Map(
    tensors.map(name => {
      let from = name;
      while (pools.has(from)) from = pools.get(from)!;
      // zero has to be exact: it is what pads a picture
      const low = Math.min(ranges.get(from)!.low, 0);
      const high = Math.max(ranges.get(from)!.high, 0);
      const step = Math.fround((high - low) / 255) || 1;
      return [name, { step, zero: Math.round(-low / step) }];
    })
  );
}

/**
 * Normalising or averaging each channel by itself as a depthwise convolution, which is one kernel instead of none, or instead of a slow
 * one: the three average pools of the embedded backbone took 1.5 of 5.9 ms. Anything else as it is.
 */
function asConvolution(node: NodeProto, { constants }: Draft, ranges: Ranges): NodeProto {
  const [input] = node.input;
  const scaling = node.opType === 'BatchNormalization' ? scalingOf(node, constants)! : undefined;
  if (scaling) {
    const { factor, offset } = scaling;
    const shape = { group: factor.length, kernel_shape: [1, 1] };
    const dims = [factor.length, 1, 1, 1];
    return convolution(attributes(shape), input, node.output[0], constants, { weights: factor, dims, bias: offset });
  }
  const window = node.opType === 'AveragePool' ? windowOf(node, ranges.get(input)!) : undefined;
  if (!window) return node;
  const { channels } = ranges.get(input)!;
  const [height, width] = window.kernel_shape;
  return convolution(attributes({ group: channels, ...window }), input, node.output[0], constants, {
    weights: new Float32Array(channels * height * width).fill(1 / (height * width)),
    dims: [channels, 1, height, width],
    bias: new Float32Array(channels)
  });
}

const attributes = (values: Record<string, number | number[]>): AttributeProto[] =>
  Object.entries(values).map(([name, value]) => attribute(name, value));

/** An average pool whose windows all hold equally many values; nothing for another. */
function windowOf(
  node: NodeProto,
  { rows, columns }: Range
): { kernel_shape: number[]; strides: number[]; pads: number[] } | undefined {
  const find = (name: string): AttributeProto | undefined => node.attribute.find(a => a.name === name);
  const numbers = (name: string, otherwise: number[]): number[] => {
    const { ints } = find(name) ?? {};
    return ints?.length ? ints.map(Number) : otherwise;
  };
  const kernel = numbers('kernel_shape', []);
  const strides = numbers('strides', [1, 1]);
  const pads = numbers('pads', [0, 0, 0, 0]);
  const automatic = find('auto_pad')?.s?.toString() ?? 'NOTSET';
  if (kernel.length !== 2 || automatic !== 'NOTSET' || numbers('dilations', [1, 1]).some(d => d !== 1))
    return undefined;
  const partial = [rows, columns].some((size, i) => (size + pads[i] + pads[i + 2] - kernel[i]) % strides[i] !== 0);
  if (partial && find('ceil_mode')?.i) return undefined;
  if (pads.some(p => p) && !find('count_include_pad')?.i) return undefined;
  return { kernel_shape: kernel, strides, pads };
}
