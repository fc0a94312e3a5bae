import { needed } from './cut';
import { AttributeProto, GraphProto, NodeProto, toNumber } from './proto';

/** How the structure may offer a layer, the best kind first. */
export const KINDS = ['output', 'residual', 'concat', 'activation'] as const;

export interface Candidate {
  tensor: string;
  /** `norm` ends a transformer: the normalised sum of its last block */
  kind: (typeof KINDS)[number] | 'norm';
}

const ACTIVATIONS = new Set(['Relu', 'LeakyRelu', 'PRelu', 'Elu', 'Clip', 'HardSwish', 'Gelu', 'Sigmoid', 'Mish']);

/** Names of tensors that are the same for every picture. */
function constantsOf(graph: GraphProto): Set<string> {
  const constants = new Set(graph.initializer.map(t => t.name ?? ''));
  for (const n of graph.node)
    if (n.opType === 'Constant' || (n.opType === 'Identity' && constants.has(n.input[0])))
      n.output.forEach(name => constants.add(name));
  return constants;
}

/**
 * Tensors that may end a stage, in graph order: the graph's own outputs; a residual sum, or the Relu that it feeds; a concat; an
 * activation; a normalisation of tokens. Which of them lie at the wanted stride is seen by running the model.
 */
export function layerCandidates(graph: GraphProto): Candidate[] {
  const constants = constantsOf(graph);
  const maker = new Map(graph.node.flatMap(n => n.output.map(name => [name, n] as const)));
  const readers = new Map<string, NodeProto[]>();
  for (const n of graph.node) for (const name of n.input) readers.set(name, [...(readers.get(name) ?? []), n]);
  const outputs = new Set(graph.output.map(o => o.name));
  const candidates: Candidate[] = [];
  for (const n of graph.node) {
    const [tensor] = n.output;
    if (n.output.some(name => outputs.has(name))) candidates.push({ tensor, kind: 'output' });
    else if (n.opType === 'Add' && !n.input.some(i => constants.has(i))) {
      const activation = readers.get(tensor)?.find(r => r.opType === 'Relu');
      candidates.push({ tensor: activation?.output[0] ?? tensor, kind: 'residual' });
    } else if (n.opType === 'Concat') candidates.push({ tensor, kind: 'concat' });
    else if (isNorm(n, maker)) candidates.push({ tensor, kind: 'norm' });
    else if (ACTIVATIONS.has(n.opType)) candidates.push({ tensor, kind: 'activation' });
  }
  return candidates;
}

/** A layer normalisation: one operator, or (before opset 17) several, of which the last adds its bias to what the scale gave. */
function isNorm(node: NodeProto, maker: Map<string, NodeProto>): boolean {
  if (node.opType === 'LayerNormalization') return true;
  const made = (by: NodeProto | undefined, opType: string): NodeProto | undefined =>
    by?.input.map(name => maker.get(name)).find(n => n?.opType === opType);
  return node.opType === 'Add' && made(made(node, 'Mul'), 'Div') !== undefined;
}

function attributeOf(node: NodeProto, name: string): AttributeProto | undefined {
  return node.attribute.find(a => a.name === name);
}

const intsOf = (node: NodeProto, name: string): number[] => (attributeOf(node, name)?.ints ?? []).map(toNumber);

/**
 * Side of a transformer's patches, pixels: the first convolution cuts the picture into squares that do not overlap.
 * 1 where the first convolution does something else; smaller squares than 8 are a convolutional network's first step.
 */
export function patchSide(graph: GraphProto): number {
  const first = graph.node.find(n => n.opType === 'Conv');
  const [strides, kernel] = first ? [intsOf(first, 'strides'), intsOf(first, 'kernel_shape')] : [[], []];
  const square = strides[0] >= 8 && strides.every(s => s === strides[0]) && strides.every((s, i) => s === kernel[i]);
  return square ? strides[0] : 1;
}

/**
 * Whether a pool of fixed size stands for the mean of a whole map, as in networks that were exported for one picture size: on a larger
 * picture it would silently look at a part of the map only.
 */
export function poolsFixedMap(graph: GraphProto, taps: string[]): boolean {
  return needed(graph, taps).some(n => n.opType === 'AveragePool' && Math.min(...intsOf(n, 'kernel_shape')) >= 7);
}
