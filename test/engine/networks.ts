import fs from 'node:fs';
import path from 'node:path';
import { GraphBuilder, type Dim } from '../../lib/engine/onnx/builder';
import {
  allTensors,
  DataType,
  decodeModel,
  ModelProto,
  NodeProto,
  reencodeModel,
  TensorProto
} from '../../lib/engine/onnx/proto';
import { randomStream } from '../../lib/engine/random';
import { put, scratch } from '../support';

/** Pixels that a network of `network` takes. */
export const [WIDTH, HEIGHT] = [48, 32];

/** A network file; `draw` gives the outputs: tensor, name, dims. */
export function network(
  draw: (g: GraphBuilder, x: string) => [string, string, Dim[]][],
  dims: Dim[] = [1, 3, HEIGHT, WIDTH]
): string {
  const g = new GraphBuilder();
  for (const [tensor, name, shape] of draw(g, g.input('x', 'float', dims))) g.output(tensor, name, 'float', shape);
  const file = path.join(scratch(), 'net.onnx');
  put(file, g.build());
  return file;
}

/** The mean of the channels as the map, and its maximum as the score. */
export const brightness = (g: GraphBuilder, x: string): { map: string; score: string } => {
  const map = g.op('ReduceMean', [x, g.ints(1)], { keepdims: 1 });
  return { map, score: g.op('Reshape', [g.op('ReduceMax', [map]), g.ints(1)]) };
};

/** Turns the columns of a picture round, in more parts than WebGPU can write at once: it fails there only when it runs. */
export const tooManyParts = (g: GraphBuilder, x: string): string =>
  g.op('Concat', g.ops('Split', [x], { axis: 3, num_outputs: WIDTH }, WIDTH).reverse(), { axis: 3 });

/** Sines of angles so large that a graphics card, which rounds otherwise, gives other numbers. */
export const largeAngles = (g: GraphBuilder, x: string): string => g.op('Sin', [g.op('Mul', [x, g.scalar(1e6)])]);

/** A detector of the mean of the channels, after `change`. */
export const brightnessAfter = (change: (g: GraphBuilder, x: string) => string): string =>
  network((g, x) => {
    const { map, score } = brightness(g, change(g, x));
    return [
      [map, 'anomaly_map', [1, 1, HEIGHT, WIDTH]],
      [score, 'pred_score', [1]]
    ];
  });

/** Weights that half precision holds exactly: multiples of 1/64 between -1/2 and 1/2. */
function weights(g: GraphBuilder, seed: number, ...dims: number[]): string {
  const random = randomStream(seed);
  const count = dims.reduce((a, b) => a * b, 1);
  return g.floats(
    Float32Array.from({ length: count }, () => Math.round(random() * 64 - 32) / 64),
    dims
  );
}

function conv(g: GraphBuilder, x: string, [from, to]: [number, number], side: number, stride: number): string {
  const pad = (side - 1) >> 1;
  return g.op('Conv', [x, weights(g, from + to + side, to, from, side, side)], {
    kernel_shape: [side, side],
    strides: [stride, stride],
    pads: [pad, pad, pad, pad]
  });
}

/** x + f(x), then Relu: how a stage of a residual network ends. Returns the sum and the Relu. */
function residual(g: GraphBuilder, x: string, channels: number): { sum: string; relu: string } {
  const sum = g.op('Add', [
    conv(g, g.op('Relu', [conv(g, x, [channels, channels], 3, 1)]), [channels, channels], 1, 1),
    x
  ]);
  return { sum, relu: g.op('Relu', [sum]) };
}

export interface Net {
  model: ModelProto;
  /** the tensors that a structural tap should find */
  taps: string[];
}

/** A residual network of 8 and 12 channels at strides 8 and 16, with a classifier behind that is larger than all before it. */
export function residualNet(height: number | string = 'H', width: number | string = 'W'): Net {
  const g = new GraphBuilder();
  const x = g.input('picture', 'float', ['N', 3, height, width]);
  const stem = g.op('Relu', [conv(g, x, [3, 6], 7, 4)]);
  const second = residual(g, conv(g, stem, [6, 8], 3, 2), 8).relu;
  const third = residual(g, conv(g, second, [8, 12], 3, 2), 12).relu;
  const pooled = g.op('Flatten', [g.op('GlobalAveragePool', [third])], { axis: 1 });
  g.output(g.op('MatMul', [pooled, weights(g, 1, 12, 5000)]), 'logits', 'float', ['N', 5000]);
  return { model: decodeModel(g.build()), taps: [second, third] };
}

export interface TransformerOptions {
  patch?: number;
  channels?: number;
  /** class and register tokens before those of the patches */
  others?: number;
  /** position embeddings of this many patches a side: the network then takes one size only */
  positions?: number;
  /** layer normalisation as one operator, or as those before opset 17 */
  norm?: 'whole' | 'parts';
}

/** A transformer of one block, cut into patches by its first convolution; behind its norm the class token goes to a classifier. */
export function transformer(options: TransformerOptions = {}): Net & { block: string } {
  const { patch = 14, channels = 6, others = 1, positions, norm = 'whole' } = options;
  const g = new GraphBuilder();
  const side = positions ? positions * patch : undefined;
  const x = g.input('pixel_values', 'float', ['N', 3, side ?? 'H', side ?? 'W']);
  const cut = g.op('Conv', [x, weights(g, 3, channels, 3, patch, patch)], {
    kernel_shape: [patch, patch],
    strides: [patch, patch]
  });
  const flat = g.op('Transpose', [g.op('Reshape', [cut, g.ints(0, channels, -1)])], { perm: [0, 2, 1] });
  const count = g.op('Concat', [g.op('Shape', [x], { start: 0, end: 1 }), g.ints(others, channels)], { axis: 0 });
  const own = g.op('Expand', [weights(g, 5, 1, others, channels), count]);
  let tokens = g.op('Concat', [own, flat], { axis: 1 });
  if (positions) tokens = g.op('Add', [tokens, weights(g, 6, 1, others + positions ** 2, channels)]);
  const block = g.op('Add', [tokens, g.op('MatMul', [tokens, weights(g, 7, channels, channels)])]);
  const [scale, bias] = [weights(g, 8, channels), weights(g, 9, channels)];
  const normed =
    norm === 'whole' ? g.op('LayerNormalization', [block, scale, bias]) : normInParts(g, block, scale, bias);
  const first = g.op('Gather', [normed, g.ints(0)], { axis: 1 });
  g.output(g.op('MatMul', [first, weights(g, 10, channels, 50)]), 'logits', 'float', ['N', 1, 50]);
  return { model: decodeModel(g.build()), taps: [normed], block };
}

function normInParts(g: GraphBuilder, x: string, scale: string, bias: string): string {
  const mean = (t: string): string => g.op('ReduceMean', [t, g.ints(2)]);
  const centred = g.op('Sub', [x, mean(x)]);
  const variance = mean(g.op('Mul', [centred, centred]));
  const deviation = g.op('Sqrt', [g.op('Add', [variance, g.scalar(1e-5)])]);
  return g.op('Add', [g.op('Mul', [g.op('Div', [centred, deviation]), scale]), bias]);
}

/** Writes a network into a folder of its own. Returns the path. */
export function written(model: ModelProto, name = 'net.onnx'): string {
  const file = path.join(scratch(), name);
  fs.writeFileSync(file, reencodeModel(model));
  return file;
}

/** As exports from TensorFlow: the picture's channels last, and a Transpose to the network's own order. */
export function channelsLast({ model }: Net): ModelProto {
  const [input] = model.graph.input;
  input.type!.tensorType!.shape!.dim = [{ dimValue: 1 }, { dimValue: 224 }, { dimValue: 224 }, { dimValue: 3 }];
  const perm = { name: 'perm', type: 7, ints: [0, 3, 1, 2] };
  putFirst(model, { opType: 'Transpose', input: [input.name], output: ['turned'], attribute: [perm] });
  return model;
}

/** As files of 2018: IR 3, where every weight is an input as well; and some of these stand before the picture. */
export function oldFile({ model }: Net): ModelProto {
  model.irVersion = 3;
  model.opsetImport[0].version = 7;
  const listed = model.graph.initializer.map(({ name, dims, dataType }) => ({
    name: name!,
    type: { tensorType: { elemType: dataType, shape: { dim: dims!.map(dimValue => ({ dimValue })) } } }
  }));
  model.graph.input.unshift(...listed);
  return model;
}

const floats = (t: TensorProto): Float32Array => new Float32Array(Uint8Array.from(t.rawData!).buffer);

/** The sign, exponent and fraction of a number that half precision holds exactly. */
function halfBits(value: number): number {
  if (value === 0) return 0;
  const exponent = Math.floor(Math.log2(Math.abs(value)));
  const fraction = Math.round((Math.abs(value) / 2 ** exponent - 1) * 1024);
  return (value < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | fraction;
}

const isFloat = (t: TensorProto): boolean => t.dataType === DataType.float;

/** Weights, input and output in float16; every other weight in the field for single numbers, as some writers do. */
export function halved({ model }: Net): ModelProto {
  allTensors(model)
    .filter(isFloat)
    .forEach((tensor, i) => {
      const bits = Uint16Array.from(floats(tensor), halfBits);
      tensor.dataType = DataType.float16;
      tensor.rawData = i % 2 ? undefined : new Uint8Array(bits.buffer);
      if (i % 2) tensor.int32Data = [...bits];
    });
  for (const value of [...model.graph.input, ...model.graph.output])
    value.type!.tensorType!.elemType = DataType.float16;
  return model;
}

/** Computes in bfloat16, but takes its picture in float32. */
export function halvedInside({ model }: Net): ModelProto {
  for (const tensor of allTensors(model).filter(isFloat)) {
    const bits = Uint16Array.from(new Uint32Array(floats(tensor).buffer), b => b >>> 16);
    tensor.dataType = DataType.bfloat16;
    tensor.rawData = new Uint8Array(bits.buffer);
  }
  const to = { name: 'to', type: 2, i: DataType.bfloat16 };
  putFirst(model, { opType: 'Cast', input: [model.graph.input[0].name], output: ['cast'], attribute: [to] });
  return model;
}

/** Puts a node between the picture and what takes it. */
function putFirst({ graph }: ModelProto, node: NodeProto): void {
  for (const n of graph.node) n.input = n.input.map(name => (name === graph.input[0].name ? node.output[0] : name));
  graph.node.unshift(node);
}

/** Writes a network whose weights lie in a second file. Returns the path of the first. */
export function writtenApart({ model }: Net, data = 'net.onnx_data'): string {
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const tensor of model.graph.initializer) {
    const raw = tensor.rawData!;
    tensor.rawData = undefined;
    tensor.dataLocation = 1;
    tensor.externalData = [
      { key: 'location', value: data },
      { key: 'offset', value: String(offset) },
      { key: 'length', value: String(raw.length) }
    ];
    parts.push(raw);
    offset += raw.length;
  }
  const file = written(model);
  const place = path.join(path.dirname(file), data);
  if (path.basename(data) === data) fs.writeFileSync(place, Buffer.concat(parts));
  return file;
}
