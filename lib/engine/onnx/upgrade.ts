import { AttributeType } from './builder';
import {
  AttributeProto,
  DataType,
  GraphProto,
  innerGraphs,
  ModelProto,
  NodeProto,
  TensorProto,
  toNumber
} from './proto';

/** One node of an older version of the operators, and what it needs to become one of the newer. */
interface Rewrite {
  node: NodeProto;
  /** adds a constant to the graph and gives its name */
  ints(values: number[]): string;
  floats(values: number[]): string;
  ints64(name: string): number[] | undefined;
  float(name: string): number | undefined;
  drop(...names: string[]): void;
  set(attribute: AttributeProto): void;
}

/** What changed in the version `since`; `apply` gives back a text where it cannot be brought over, which says why. */
type Rule = { since: number; apply(rewrite: Rewrite): unknown };

/** A list that was an attribute is an input now. */
const asInput =
  (name: string, at: number) =>
  ({ node, ints, ints64, drop }: Rewrite): void => {
    const values = ints64(name);
    if (!values) return;
    while (node.input.length < at) node.input.push('');
    node.input[at] = ints(values);
    drop(name);
  };

const axesAsInput: Rule['apply'] = asInput('axes', 1);
const reduces = ['Max', 'Min', 'Mean', 'Prod', 'L1', 'L2', 'LogSum', 'LogSumExp', 'SumSquare'];
const text = (name: string, value: string): AttributeProto => ({
  name,
  type: AttributeType.string,
  s: Buffer.from(value)
});

/** Before version 11 a resize counted pixels from the corner and took the lower one. */
function oldResize({ node, floats, set, drop }: Rewrite): void {
  const scales = node.attribute.find(a => a.name === 'scales')?.floats;
  node.input = [node.input[0], '', scales ? floats(scales) : node.input[1]];
  node.opType = 'Resize';
  drop('scales');
  set(text('coordinate_transformation_mode', 'asymmetric'));
  set(text('nearest_mode', 'floor'));
}

/** Before version 13 a softmax took all axes from the given one on as one: only along the last axis nothing changes. */
function oldSoftmax({ node }: Rewrite): string | undefined {
  const axis = node.attribute.find(a => a.name === 'axis');
  return axis && toNumber(axis.i) === -1 ? undefined : `${node.opType} along another axis than the last`;
}

const RULES: Record<string, Rule[]> = {
  Squeeze: [{ since: 13, apply: axesAsInput }],
  Unsqueeze: [{ since: 13, apply: axesAsInput }],
  ReduceSum: [{ since: 13, apply: axesAsInput }],
  ...Object.fromEntries(reduces.map(name => [`Reduce${name}`, [{ since: 18, apply: axesAsInput }]])),
  Split: [
    { since: 13, apply: asInput('split', 1) },
    {
      since: 18,
      apply: ({ node, set }) => {
        if (!node.input[1]) set({ name: 'num_outputs', type: AttributeType.int, i: node.output.length });
      }
    }
  ],
  Clip: [
    {
      since: 11,
      apply: ({ node, float, floats, drop }) => {
        const [low, high] = [float('min'), float('max')];
        node.input.push(low === undefined ? '' : floats([low]), high === undefined ? '' : floats([high]));
        drop('min', 'max');
      }
    }
  ],
  Pad: [
    {
      since: 11,
      apply: rewrite => {
        asInput('pads', 1)(rewrite);
        rewrite.node.input[2] = rewrite.floats([rewrite.float('value') ?? 0]);
        rewrite.drop('value');
      }
    }
  ],
  Slice: [
    {
      since: 10,
      apply: rewrite => ['starts', 'ends', 'axes'].forEach((name, i) => asInput(name, i + 1)(rewrite))
    }
  ],
  TopK: [
    {
      since: 10,
      apply: ({ node, ints, drop }) => {
        node.input[1] = ints([toNumber(node.attribute.find(a => a.name === 'k')?.i)]);
        drop('k');
      }
    }
  ],
  Dropout: [
    {
      since: 12,
      apply: ({ node, drop }) => {
        node.opType = 'Identity';
        node.output.length = 1;
        drop('ratio', 'is_test');
      }
    }
  ],
  BatchNormalization: [{ since: 14, apply: ({ drop }) => drop('spatial', 'is_test', 'consumed_inputs') }],
  Upsample: [{ since: 10, apply: oldResize }],
  Resize: [{ since: 11, apply: oldResize }],
  Softmax: [{ since: 13, apply: oldSoftmax }],
  LogSoftmax: [{ since: 13, apply: oldSoftmax }],
  Scatter: [{ since: 11, apply: ({ node }) => void (node.opType = 'ScatterElements') }]
};

/**
 * A graph in a newer version of the standard operators, so that it can stand in one model with graphs of that version. The model that is
 * given is changed. What changed between the versions and is not known here is refused, not guessed.
 * @returns why it cannot be done; undefined where it was
 */
export function upgrade(model: ModelProto, to: number): string | undefined {
  const standard = model.opsetImport.find(o => !o.domain || o.domain === 'ai.onnx');
  const from = toNumber(standard?.version) || to;
  if (from >= to) return undefined;
  if (model.functions?.length) return 'operators that the file defines itself';
  const why = upgradeGraph(model.graph, from, to);
  if (!why) standard!.version = to;
  return why;
}

function upgradeGraph(graph: GraphProto, from: number, to: number): string | undefined {
  for (const node of graph.node) {
    for (const inner of innerGraphs(node)) {
      const why = upgradeGraph(inner, from, to);
      if (why) return why;
    }
    if (node.domain && node.domain !== 'ai.onnx') continue;
    for (const { since, apply } of RULES[node.opType] ?? []) {
      const why = from < since && since <= to ? apply(rewriteOf(node, graph)) : undefined;
      if (typeof why === 'string') return why;
    }
  }
  return undefined;
}

function rewriteOf(node: NodeProto, graph: GraphProto): Rewrite {
  const constant = (tensor: TensorProto): string => {
    const name = `goodparts:upgraded:${graph.initializer.length}`;
    graph.initializer.push({ ...tensor, name });
    return name;
  };
  const find = (name: string) => node.attribute.find(a => a.name === name);
  const bytes = (a: BigInt64Array | Float32Array) => new Uint8Array(a.buffer);
  return {
    node,
    ints: values =>
      constant({
        dims: [values.length],
        dataType: DataType.int64,
        rawData: bytes(BigInt64Array.from(values.map(BigInt)))
      }),
    floats: values =>
      constant({
        dims: values.length === 1 ? [] : [values.length],
        dataType: DataType.float,
        rawData: bytes(Float32Array.from(values))
      }),
    ints64: name => find(name)?.ints?.map(toNumber),
    float: name => find(name)?.f,
    drop: (...names) => void (node.attribute = node.attribute.filter(a => !names.includes(a.name))),
    set: attribute => void node.attribute.push(attribute)
  };
}
