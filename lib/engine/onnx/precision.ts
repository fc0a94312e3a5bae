import { allNodes, allTensors, DataType, innerGraphs, ModelProto, TensorProto, toNumber } from './proto';

/** Attributes that name a data type: that of Cast, and that of what makes tensors from nothing. */
const TYPE_ATTRIBUTES = ['to', 'dtype'];
const isHalf = (type: number | undefined): boolean => type === DataType.float16 || type === DataType.bfloat16;

/**
 * Makes a network of 16-bit floats one of 32-bit floats, in place. Every 16-bit float is a 32-bit float as well, so no weight changes;
 * what is computed from them is rounded less. Processors compute with 32 bits anyway, and few operators exist for 16.
 */
export function widen(model: ModelProto): void {
  for (const tensor of allTensors(model)) if (isHalf(tensor.dataType)) widenTensor(tensor);
  const nodes = allNodes(model);
  for (const attribute of nodes.flatMap(n => n.attribute))
    if (TYPE_ATTRIBUTES.includes(attribute.name) && isHalf(toNumber(attribute.i))) attribute.i = DataType.float;
  for (const graph of [model.graph, ...nodes.flatMap(innerGraphs)])
    for (const value of [...graph.input, ...graph.output, ...(graph.valueInfo ?? [])]) {
      const tensor = value.type?.tensorType;
      if (tensor && isHalf(tensor.elemType)) tensor.elemType = DataType.float;
    }
}

function widenTensor(tensor: TensorProto): void {
  const bits = bitsOf(tensor);
  const values = new Float32Array(bits.length);
  if (tensor.dataType === DataType.bfloat16) new Uint32Array(values.buffer).set(Uint32Array.from(bits, b => b << 16));
  else for (let i = 0; i < bits.length; i++) values[i] = halves()[bits[i]];
  tensor.rawData = new Uint8Array(values.buffer);
  tensor.int32Data = [];
  tensor.dataType = DataType.float;
}

function bitsOf({ rawData, int32Data }: TensorProto): Uint16Array {
  // raw data may begin at an odd address, where no 16-bit view can stand
  if (rawData?.length) return new Uint16Array(Uint8Array.from(rawData).buffer);
  return Uint16Array.from(int32Data ?? []);
}

let table: Float32Array | undefined;

/** The value of each of the 65,536 float16 numbers (IEEE 754, binary16). */
function halves(): Float32Array {
  if (table) return table;
  table = new Float32Array(65536);
  for (let bits = 0; bits < table.length; bits++) {
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const size =
      exponent === 0
        ? fraction * 2 ** -24
        : exponent < 31
          ? (1024 + fraction) * 2 ** (exponent - 25)
          : fraction
            ? NaN
            : Infinity;
    table[bits] = bits & 0x8000 ? -size : size;
  }
  return table;
}
