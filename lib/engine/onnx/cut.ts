import { GoodpartsError } from '../errors';
import { GraphProto, innerGraphs, ModelProto, NodeProto, reencodeModel, toNumber } from './proto';

/** The input of a network that takes the picture. */
export interface PictureInput {
  name: string;
  /** order of the axes behind the batch: channels first, or last (exports from TensorFlow) */
  layout: 'NCHW' | 'NHWC';
  /** the size that the file names; undefined where it leaves it open */
  size?: { width: number; height: number };
}

/** What the cut model calls its picture where the network wants another layout than [N, 3, H, W]. */
const PICTURE = 'goodparts:picture';
const FLOAT = 1;

/** Names that the node reads: its inputs, and what its subgraphs (If, Loop) take from outside. */
function reads(node: NodeProto): string[] {
  return [...node.input, ...innerGraphs(node).flatMap(g => g.node.flatMap(reads))].filter(name => name !== '');
}

/** The nodes that `outputs` depend on, in graph order. */
export function needed(graph: GraphProto, outputs: string[]): NodeProto[] {
  const wanted = new Set(outputs);
  const kept: NodeProto[] = [];
  for (const node of [...graph.node].reverse()) {
    if (!node.output.some(name => wanted.has(name))) continue;
    kept.push(node);
    reads(node).forEach(name => wanted.add(name));
  }
  return kept.reverse();
}

/**
 * The picture input: of the graph inputs that are no weights (older models list their weights as inputs, too) the first with four axes.
 * @param layout where the file leaves open on which axis the three channels lie
 * @throws GoodpartsError `backbone-input` when there is none, or one that no RGB picture fits
 */
export function pictureInput(graph: GraphProto, file: string, layout: PictureInput['layout'] = 'NCHW'): PictureInput {
  const weights = new Set(graph.initializer.map(t => t.name));
  const inputs = graph.input.filter(i => !weights.has(i.name));
  const shapeOf = (i: (typeof inputs)[0]) => i.type?.tensorType?.shape?.dim;
  const input = inputs.find(i => shapeOf(i)?.length === 4) ?? inputs.find(i => !shapeOf(i));
  if (!input) throw refused(file, 'takes no picture: none of its inputs has the axes of a batch of pictures');
  const type = input.type?.tensorType?.elemType ?? FLOAT;
  if (type !== FLOAT) throw refused(file, `takes pictures of another number type (${type}) than float`);
  const dims = (shapeOf(input) ?? []).map(d => toNumber(d.dimValue) || undefined);
  const channels = dims[1] === 3 ? 'NCHW' : dims[3] === 3 ? 'NHWC' : layout;
  const [count, height, width] = channels === 'NCHW' ? [dims[1], dims[2], dims[3]] : [dims[3], dims[1], dims[2]];
  if (count !== undefined && count !== 3) throw refused(file, `takes pictures of ${count} channels instead of 3`);
  return { name: input.name, layout: channels, ...(width && height && { size: { width, height } }) };
}

const refused = (file: string, why: string): GoodpartsError =>
  new GoodpartsError('backbone-input', `${file} ${why}; choose a network that takes one RGB picture.`);

/**
 * The model cut after `taps`: everything that they do not need is dropped, weights included. It takes [N, 3, H, W] of any size and
 * count, whatever the file names; whether it can compute that is seen by running it. What the outputs are is left to ONNX Runtime
 * for the same reason.
 * @throws GoodpartsError `backbone-input` when the taps need more than the picture
 */
export function cutModel(model: ModelProto, taps: string[], input: PictureInput, file: string): Uint8Array {
  const { graph } = model;
  const node = needed(graph, taps);
  const used = new Set([...node.flatMap(reads), ...taps]);
  const weights = new Set(graph.initializer.map(t => t.name));
  const other = graph.input.find(i => used.has(i.name) && i.name !== input.name && !weights.has(i.name));
  if (other) throw refused(file, `needs a second input, ${other.name}`);
  const turn: NodeProto = {
    opType: 'Transpose',
    input: [PICTURE],
    output: [input.name],
    attribute: [{ name: 'perm', type: 7, ints: [0, 2, 3, 1] }]
  };
  const turned = input.layout === 'NHWC';
  const shape = { dim: [{ dimParam: 'N' }, { dimValue: 3 }, { dimParam: 'H' }, { dimParam: 'W' }] };
  return reencodeModel({
    // before IR 4 weights had to be inputs, which keeps ONNX Runtime from treating them as constants; IR beyond 10 adds nothing that
    // a backbone has, and would be refused by an older ONNX Runtime
    irVersion: Math.min(10, Math.max(4, toNumber(model.irVersion))),
    producerName: model.producerName,
    opsetImport: model.opsetImport,
    functions: model.functions,
    graph: {
      name: graph.name ?? 'backbone',
      node: turned ? [turn, ...node] : node,
      initializer: graph.initializer.filter(t => used.has(t.name ?? '')),
      input: [{ name: turned ? PICTURE : input.name, type: { tensorType: { elemType: FLOAT, shape } } }],
      output: taps.map(name => ({ name }))
    }
  });
}
