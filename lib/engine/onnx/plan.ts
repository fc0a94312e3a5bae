import { dimsOf, Draft, floatsOf, readersOf, scalingOf, simplified } from './fold';
import { ModelProto, NodeProto } from './proto';

/** How a graph is quantised. */
export interface Plan {
  draft: Draft;
  /** the nodes that compute in 8 bits, and the tensor each ends in: its output, or that of the activation that it swallows */
  ends: Map<NodeProto, string>;
  /** activations that are swallowed */
  swallowed: Set<NodeProto>;
  /** tensors that are rounded to 8 bits, in graph order */
  tensors: string[];
  /** outputs of the graph */
  outputs: Set<string>;
}

/** Operators that ONNX Runtime computes in 8 bits when what they read is in 8 bits already. */
const LIGHT = new Set([
  'Add',
  'Mul',
  'Concat',
  'MaxPool',
  'AveragePool',
  'GlobalAveragePool',
  'Sigmoid',
  'LeakyRelu',
  'BatchNormalization'
]);
/** Activations that rounding does by itself, as what lies outside the range is clamped. */
const CLAMPS = new Set(['Relu', 'Clip']);
/**
 * A convolution of so few channels, the first one, reads the picture: in 8 bits it is slower than in float32 (embedded backbone:
 * 0.95 ms instead of 0.58) and doubles the error of a ResNet50.
 */
const PICTURE_CHANNELS = 4;

type Weight = 'heavy' | 'light' | undefined;

/** What a node is worth in 8 bits: a convolution always, a light operator between others. */
function weightOf(node: NodeProto, { constants }: Draft): Weight {
  const constant = node.input.slice(1).every(name => !name || floatsOf(constants.get(name)));
  if (node.opType === 'Conv')
    return constant && dimsOf(constants.get(node.input[1])!)[1] * groups(node) > PICTURE_CHANNELS ? 'heavy' : undefined;
  if (node.opType === 'BatchNormalization') return scalingOf(node, constants) ? 'light' : undefined;
  if (!LIGHT.has(node.opType) || node.output.length > 1) return undefined;
  return node.input.some(name => constants.has(name)) ? undefined : 'light';
}

const groups = (node: NodeProto): number => Number(node.attribute.find(a => a.name === 'group')?.i ?? 1);
/** What of a node's inputs is computed, and not part of it. */
const dataOf = (node: NodeProto): string[] =>
  ['Conv', 'BatchNormalization'].includes(node.opType) ? [node.input[0]] : node.input.filter(name => name);

export function planOf(model: ModelProto): Plan {
  const draft = simplified(model);
  const outputs = new Set(model.graph.output.map(o => o.name));
  const readers = readersOf(draft.node);
  const weights = new Map(draft.node.map(n => [n, weightOf(n, draft)]));
  // what a convolution reads is rounded in any case
  const rounded = new Set(draft.node.filter(n => weights.get(n) === 'heavy').map(n => n.input[0]));
  const ends = new Map<NodeProto, string>();
  for (const node of draft.node) {
    const weight = weights.get(node);
    if (!weight || (weight === 'light' && !dataOf(node).every(name => rounded.has(name)))) continue;
    const end = clampAfter(node, readers, outputs)?.output[0] ?? node.output[0];
    // a sum or activation that patches are made of stays exact
    if (weight === 'light' && outputs.has(end)) continue;
    ends.set(node, end);
    rounded.add(end);
  }
  // rounding what only float operators read gains nothing
  for (const node of [...draft.node].reverse())
    if (weights.get(node) === 'light' && !readers.get(ends.get(node) ?? '')?.some(r => ends.has(r))) ends.delete(node);
  const swallowed = new Set([...ends.keys()].flatMap(n => clampAfter(n, readers, outputs) ?? []));
  const used = new Set([...ends].flatMap(([node, end]) => [...dataOf(node), end]));
  const inOrder = [...model.graph.input.map(i => i.name), ...draft.node.flatMap(n => n.output)];
  return { draft, ends, swallowed, outputs, tensors: inOrder.filter(name => used.has(name)) };
}

function clampAfter(node: NodeProto, readers: Map<string, NodeProto[]>, outputs: Set<string>): NodeProto | undefined {
  const [output] = node.output;
  const next = readers.get(output) ?? [];
  return next.length === 1 && CLAMPS.has(next[0].opType) && !outputs.has(output) ? next[0] : undefined;
}
