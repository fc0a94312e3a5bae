import { attribute } from './builder';
import { cutModel } from './cut';
import { tensorOf } from './fold';
import { DataType, decodeModel, ModelProto, NodeProto, reencodeModel } from './proto';

/** How many numbers the observer gives of each tensor. */
export const OBSERVED = 5;

/**
 * The model with another output: of each tensor only its smallest and largest value, channels, rows and columns come out, so that
 * observing a network takes no more memory than running it. Output `observed`, float32 [T * 5].
 */
export function observer(model: ModelProto, tensors: string[]): Uint8Array {
  const inputs = new Set(model.graph.input.map(i => i.name));
  const computed = tensors.filter(name => !inputs.has(name));
  const cut = decodeModel(
    cutModel(model, computed, { name: model.graph.input[0].name, layout: 'NCHW' }, 'the backbone')
  );
  const ints = (name: string, ...values: number[]): string => {
    cut.graph.initializer.push(tensorOf(name, DataType.int64, BigInt64Array.from(values.map(BigInt)), [values.length]));
    return name;
  };
  const [one, four] = [ints('observe:one', 1), ints('observe:four', 4)];
  const add = (opType: string, input: string[], output: string, attributes: NodeProto['attribute'] = []): string => {
    cut.graph.node.push({ opType, input, output: [output], attribute: attributes });
    return output;
  };
  const parts = tensors.flatMap((tensor, i) => {
    const name = `observe:${i}:`;
    const low = add('Reshape', [add('ReduceMin', [tensor], `${name}min`), one], `${name}low`);
    const high = add('Reshape', [add('ReduceMax', [tensor], `${name}max`), one], `${name}high`);
    const shape = add('Slice', [add('Shape', [tensor], `${name}shape`), one, four], `${name}chw`);
    return [low, high, add('Cast', [shape], `${name}size`, [attribute('to', DataType.float)])];
  });
  add('Concat', parts, 'observed', [attribute('axis', 0)]);
  cut.graph.output = [{ name: 'observed', type: { tensorType: { elemType: DataType.float } } }];
  return reencodeModel(cut);
}
