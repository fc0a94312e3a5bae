import { GraphProto, ModelProto, NodeProto, reencodeModel, ValueInfoProto } from './proto';

/** Names that the node reads: its inputs, and what its subgraphs (If, Loop) take from outside. */
function reads(node: NodeProto): string[] {
  const inner = node.attribute.flatMap(a => [...(a.g ? [a.g] : []), ...(a.graphs ?? [])]);
  return [...node.input, ...inner.flatMap(g => g.node.flatMap(reads))].filter(name => name !== '');
}

/** The nodes that `outputs` depend on, in graph order. */
function needed(graph: GraphProto, outputs: string[]): NodeProto[] {
  const wanted = new Set(outputs);
  const kept: NodeProto[] = [];
  for (const node of [...graph.node].reverse()) {
    if (!node.output.some(name => wanted.has(name))) continue;
    kept.push(node);
    reads(node).forEach(name => wanted.add(name));
  }
  return kept.reverse();
}

/** The picture input: the graph input that is no initializer (older models list their weights as inputs too). */
export function pictureInput(graph: GraphProto): ValueInfoProto | undefined {
  const weights = new Set(graph.initializer.map(t => t.name));
  return graph.input.find(i => !weights.has(i.name));
}

/** An input of any batch size, height and width, where the model fixed them: [N, 3, H, W]. */
function dynamicInput(input: ValueInfoProto): ValueInfoProto {
  const shape = { dim: [{ dimParam: 'N' }, { dimValue: 3 }, { dimParam: 'H' }, { dimParam: 'W' }] };
  return { name: input.name, type: { tensorType: { elemType: input.type?.tensorType?.elemType ?? 1, shape } } };
}

/**
 * The model cut after `taps`: everything that they do not need is dropped, weights included.
 * Output shapes are left open, as what the model declared may only hold for its own input size.
 */
export function cutModel(model: ModelProto, taps: string[]): Uint8Array {
  const { graph } = model;
  const node = needed(graph, taps);
  const used = new Set(node.flatMap(reads));
  const output = taps.map(name => ({ name, type: { tensorType: { elemType: 1 } } }));
  return reencodeModel({
    irVersion: model.irVersion,
    producerName: model.producerName,
    opsetImport: model.opsetImport,
    graph: {
      name: graph.name ?? 'backbone',
      node,
      initializer: graph.initializer.filter(t => used.has(t.name ?? '')),
      input: [dynamicInput(pictureInput(graph)!)],
      output
    }
  });
}

/** How the structure may offer a layer, the best kind first. */
export interface Candidate {
  tensor: string;
  kind: 'output' | 'residual' | 'concat';
  /** position in the graph: later is deeper */
  order: number;
}

/**
 * Tensors that may end a stage: the graph's own outputs; a residual sum, or the activation that it alone feeds; a channel concat
 * that feeds a pool. Which of them lie at the wanted stride is seen by running the model.
 */
export function layerCandidates(graph: GraphProto): Candidate[] {
  const constants = new Set([
    ...graph.initializer.map(t => t.name ?? ''),
    ...graph.node.filter(n => n.opType === 'Constant').flatMap(n => n.output)
  ]);
  const readers = new Map<string, NodeProto[]>();
  for (const n of graph.node) for (const name of n.input) readers.set(name, [...(readers.get(name) ?? []), n]);
  const candidates: Candidate[] = [];
  graph.node.forEach((n, order) => {
    const [tensor] = n.output;
    if (graph.output.some(o => o.name === tensor)) candidates.push({ tensor, kind: 'output', order });
    else if (n.opType === 'Add' && !n.input.some(i => constants.has(i))) {
      const activation = readers.get(tensor)?.find(r => r.opType === 'Relu');
      candidates.push({ tensor: activation?.output[0] ?? tensor, kind: 'residual', order });
    } else if (n.opType === 'Concat') candidates.push({ tensor, kind: 'concat', order });
  });
  return candidates;
}
