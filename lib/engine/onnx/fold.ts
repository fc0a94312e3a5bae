import { DataType, GraphProto, ModelProto, NodeProto, TensorProto, toNumber } from './proto';

export const dimsOf = (tensor: TensorProto): number[] => (tensor.dims ?? []).map(toNumber);

/** The values of a float32 tensor, copied, as in the file they may lie at any address; nothing for another type. */
export function floatsOf(tensor: TensorProto | undefined): Float32Array | undefined {
  if (tensor?.dataType !== DataType.float) return undefined;
  if (!tensor.rawData?.length) return Float32Array.from(tensor.floatData ?? []);
  return new Float32Array(new Uint8Array(tensor.rawData).buffer);
}

type Values = Float32Array | Int32Array | BigInt64Array | Int8Array | Uint8Array;

export function tensorOf(name: string, dataType: number, values: Values, dims: number[]): TensorProto {
  return { name, dataType, dims, rawData: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}

/** Which nodes read each tensor; the graph's outputs are not among them. */
export function readersOf(nodes: NodeProto[]): Map<string, NodeProto[]> {
  const readers = new Map<string, NodeProto[]>();
  for (const node of nodes)
    for (const name of new Set(node.input)) readers.set(name, [...(readers.get(name) ?? []), node]);
  return readers;
}

/** A graph with its constants at hand; made for rewriting, the model it came from stays as it is. */
export interface Draft {
  node: NodeProto[];
  constants: Map<string, TensorProto>;
}

/**
 * The graph with constants written as initializers, and with each batch normalisation folded into the convolution that it alone
 * reads. Tensors keep their names and, but for float rounding, their values.
 */
export function simplified({ graph }: ModelProto): Draft {
  const { node, constants } = withConstants(graph);
  const outputs = new Set(graph.output.map(o => o.name));
  const readers = readersOf(node);
  const producers = new Map(node.map(n => [n.output[0], n]));
  const folded = new Set<NodeProto>();
  const rewritten = node.map(n => {
    const conv = n.opType === 'BatchNormalization' ? producers.get(n.input[0]) : undefined;
    if (conv?.opType !== 'Conv' || readers.get(n.input[0])!.length > 1 || outputs.has(n.input[0])) return n;
    const merged = foldedConv(conv, n, constants);
    if (merged) folded.add(conv);
    return merged ?? n;
  });
  return { node: rewritten.filter(n => !folded.has(n)), constants };
}

function withConstants(graph: GraphProto): Draft {
  const constants = new Map(graph.initializer.map(t => [t.name ?? '', t]));
  const node = graph.node.filter(n => {
    let value: TensorProto | undefined;
    if (n.opType === 'Constant') value = n.attribute.find(a => a.name === 'value')?.t;
    else if (n.opType === 'Identity') value = constants.get(n.input[0]);
    if (value) constants.set(n.output[0], { ...value, name: n.output[0] });
    return !value;
  });
  return { node, constants };
}

/** Batch normalisation of a trained network: y = x * factor + offset for each channel; nothing when it is not constant. */
export function scalingOf(
  node: NodeProto,
  constants: Draft['constants']
): { factor: Float32Array; offset: Float32Array } | undefined {
  const [gamma, beta, mean, variance] = node.input.slice(1).map(name => floatsOf(constants.get(name)));
  if (!gamma || !beta || !mean || !variance) return undefined;
  const epsilon = node.attribute.find(a => a.name === 'epsilon')?.f ?? 1e-5;
  const factor = gamma.map((g, i) => g / Math.sqrt(variance[i] + epsilon));
  return { factor, offset: beta.map((b, i) => b - mean[i] * factor[i]) };
}

function foldedConv(conv: NodeProto, norm: NodeProto, constants: Draft['constants']): NodeProto | undefined {
  const scaling = scalingOf(norm, constants);
  const tensor = constants.get(conv.input[1]);
  const weights = floatsOf(tensor);
  const bias = conv.input[2] ? floatsOf(constants.get(conv.input[2])) : scaling?.offset.map(() => 0);
  if (!scaling || !tensor || !weights || !bias) return undefined;
  const { factor, offset } = scaling;
  const size = weights.length / factor.length;
  return convolution(conv.attribute, conv.input[0], norm.output[0], constants, {
    weights: weights.map((w, i) => w * factor[Math.floor(i / size)]),
    dims: dimsOf(tensor),
    bias: bias.map((b, c) => b * factor[c] + offset[c])
  });
}

/** A convolution with weights of its own, which become constants named after its output. */
export function convolution(
  attribute: NodeProto['attribute'],
  input: string,
  output: string,
  constants: Draft['constants'],
  { weights, dims, bias }: { weights: Float32Array; dims: number[]; bias: Float32Array }
): NodeProto {
  const [w, b] = [`${output}:weights`, `${output}:bias`];
  constants.set(w, tensorOf(w, DataType.float, weights, dims));
  constants.set(b, tensorOf(b, DataType.float, bias, [bias.length]));
  return { opType: 'Conv', attribute, input: [input, w, b], output: [output] };
}
