import { floatsOf } from '../onnx/fold';
import { DataType, type GraphProto, type ModelProto, type NodeProto, type TensorProto } from '../onnx/proto';

/** Constants of a graph by name: its weights, and what constant nodes give. */
export function constantsOf(graph: GraphProto): Map<string, TensorProto> {
  const constants = new Map(graph.initializer.map(t => [t.name ?? '', t]));
  for (const { opType, attribute, output } of graph.node) {
    const value = opType === 'Constant' ? attribute.find(a => a.name === 'value')?.t : undefined;
    if (value) constants.set(output[0], value);
  }
  return constants;
}

/** The node that makes each tensor. */
export const producersOf = (graph: GraphProto): Map<string, NodeProto> =>
  new Map(graph.node.flatMap(node => node.output.map(name => [name, node] as const)));

/** The value of a constant of one number. */
export function singleOf(tensor: TensorProto | undefined): number | undefined {
  const values = floatsOf(tensor);
  return values?.length === 1 ? values[0] : undefined;
}

/** Whether a constant is a single `false`. */
const isFalse = (tensor: TensorProto | undefined): boolean =>
  tensor?.dataType === DataType.bool && (tensor.rawData?.[0] ?? tensor.int32Data?.[0]) === 0;

/**
 * Whether anomalib 2 leaves an output as it is, because no validation was run that would have told its scale and boundary. The branch that
 * scales it is in the file all the same, behind a condition that is never met.
 */
export function neverScaled(graph: GraphProto, output: string): boolean {
  const constants = constantsOf(graph);
  const producers = producersOf(graph);
  let node = producers.get(output);
  while (node?.opType === 'Identity') node = producers.get(node.input[0]);
  return node?.opType === 'Where' && isFalse(constants.get(node.input[0]));
}

/**
 * Takes away the bound at 0 and 1 that anomalib 2 puts on its outputs, in place: good parts far below the boundary would all score 0,
 * bad ones all 1, and there would be nothing to calibrate with. Numbers in between stay as they are. Where there is no such bound,
 * nothing is changed.
 */
export function unbound({ graph }: ModelProto, outputs: string[]): void {
  const constants = constantsOf(graph);
  const producers = producersOf(graph);
  const isBound = ({ opType, input, attribute }: NodeProto): boolean => {
    if (opType !== 'Clip') return false;
    const [low, high] = ['min', 'max'].map(
      (name, i) => attribute.find(a => a.name === name)?.f ?? singleOf(constants.get(input[i + 1]))
    );
    return low === 0 && high === 1;
  };
  const open = (name: string): void => {
    const node = producers.get(name);
    if (!node) return;
    if (isBound(node)) Object.assign(node, { opType: 'Identity', input: node.input.slice(0, 1), attribute: [] });
    // the condition of a Where is no number
    else if (node.opType === 'Where') node.input.slice(1).forEach(open);
    else if (node.opType === 'Identity' || node.opType === 'Cast') open(node.input[0]);
  };
  outputs.forEach(open);
}
