import { GraphProto, innerGraphs, ModelProto, NodeProto, reencodeModel, toNumber, ValueInfoProto } from './proto';

/** A graph that becomes a part of a larger one. */
export interface Part {
  model: ModelProto;
  /** what stands before the names of its tensors, so that those of two parts never meet; ends with a slash */
  prefix: string;
  /** its inputs: the tensors of the whole that they are, by name */
  feeds: Record<string, string>;
}

/** A model made of parts, which are given in the order in which they run. */
export interface Whole {
  parts: Part[];
  /** graph inputs of the whole; those that are initializers of a part as well have a default */
  inputs: ValueInfoProto[];
  /** graph outputs of the whole */
  outputs: ValueInfoProto[];
  metadata: Record<string, string>;
  description: string;
}

/** One serialized model of several, all of which must be written with the same version of the standard operators, or an older one that did not change. */
export function fuse({ parts, inputs, outputs, metadata, description }: Whole): Uint8Array {
  const opsets = new Map<string, number>();
  const graph: GraphProto = { name: 'goodparts', node: [], initializer: [], input: inputs, output: outputs };
  for (const part of parts) {
    for (const { domain = '', version } of part.model.opsetImport)
      opsets.set(domain, Math.max(opsets.get(domain) ?? 0, toNumber(version)));
    const { node, initializer } = renamed(part);
    graph.node.push(...node);
    graph.initializer.push(...initializer);
  }
  return reencodeModel({
    irVersion: Math.max(8, ...parts.map(part => toNumber(part.model.irVersion))),
    producerName: 'goodparts',
    docString: description,
    opsetImport: [...opsets].map(([domain, version]) => ({ domain, version })),
    metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    functions: parts.flatMap(part => part.model.functions ?? []),
    graph
  });
}

function renamed({ model, prefix, feeds }: Part): Pick<GraphProto, 'node' | 'initializer'> {
  const name = (given: string): string => (given === '' ? '' : (feeds[given] ?? prefix + given));
  const node = (n: NodeProto): NodeProto => {
    innerGraphs(n).forEach(inner);
    return { ...n, name: undefined, input: n.input.map(name), output: n.output.map(name) };
  };
  // branches and loop bodies see the tensors around them
  const inner = (g: GraphProto): void => {
    g.node = g.node.map(node);
    for (const value of [...g.initializer, ...g.input, ...g.output]) value.name = name(value.name ?? '');
  };
  return {
    node: model.graph.node.map(node),
    initializer: model.graph.initializer.map(tensor => ({ ...tensor, name: name(tensor.name ?? '') }))
  };
}
