import { AttributeProto, DataType, DataTypeName, encodeModel, GraphProto, ValueInfoProto } from './proto';

/** A number is whole unless it says that it is a float. */
type Attribute = number | string | number[] | { float: number };
/** A dimension: a number, or a name where it is only known when the graph runs. */
export type Dim = number | string;

/** AttributeProto.AttributeType */
export const AttributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;

export function attribute(name: string, value: Attribute): AttributeProto {
  if (typeof value === 'string') return { name, type: AttributeType.string, s: Buffer.from(value) };
  if (Array.isArray(value)) return { name, type: AttributeType.ints, ints: value };
  if (typeof value === 'object') return { name, type: AttributeType.float, f: value.float };
  return { name, type: AttributeType.int, i: value };
}

const valueInfo = (name: string, type: DataTypeName, dims: Dim[]): ValueInfoProto => ({
  name,
  type: {
    tensorType: {
      elemType: DataType[type],
      shape: { dim: dims.map(d => (typeof d === 'number' ? { dimValue: d } : { dimParam: d })) }
    }
  }
});

type NumberArray = Float32Array | Float64Array | Int8Array | BigInt64Array;

const CONTRIB = 'com.microsoft';

/** Writes an ONNX graph of standard operators, opset 18. Tensors are known by their names. */
export class GraphBuilder {
  static readonly opset = 18;
  private readonly graph: GraphProto = { name: 'goodparts', node: [], initializer: [], input: [], output: [] };
  private count = 0;

  input(name: string, type: DataTypeName, dims: Dim[]): string {
    this.graph.input.push(valueInfo(name, type, dims));
    return name;
  }

  /** Makes `tensor` an output of the graph called `name`. */
  output(tensor: string, name: string, type: DataTypeName, dims: Dim[]): void {
    this.graph.node.push({ opType: 'Identity', input: [tensor], output: [name], attribute: [] });
    this.graph.output.push(valueInfo(name, type, dims));
  }

  floats(values: Float32Array, dims: number[]): string {
    return this.initializer(DataType.float, values, dims);
  }

  scalar(value: number): string {
    return this.floats(Float32Array.of(value), []);
  }

  double(value: number): string {
    return this.initializer(DataType.double, Float64Array.of(value), []);
  }

  int8s(values: Int8Array, dims: number[]): string {
    return this.initializer(DataType.int8, values, dims);
  }

  ints(...values: number[]): string {
    return this.initializer(DataType.int64, BigInt64Array.from(values.map(BigInt)), [values.length]);
  }

  /** Adds one operator; an absent optional input is ''. Returns the name of its first output. */
  op(opType: string, input: string[], attributes: Record<string, Attribute> = {}): string {
    return this.ops(opType, input, attributes, 1)[0];
  }

  ops(opType: string, input: string[], attributes: Record<string, Attribute>, outputs: number): string[] {
    const output = Array.from({ length: outputs }, () => `t${this.count++}`);
    this.graph.node.push({
      opType,
      input,
      output,
      attribute: Object.entries(attributes).map(([k, v]) => attribute(k, v))
    });
    return output;
  }

  /** Adds one of ONNX Runtime's own operators; only for graphs that never leave this engine. */
  contrib(opType: string, input: string[]): string {
    const output = this.op(opType, input);
    this.graph.node[this.graph.node.length - 1].domain = CONTRIB;
    return output;
  }

  build(): Uint8Array {
    return encodeModel({
      irVersion: 8,
      producerName: 'goodparts',
      opsetImport: [
        { domain: '', version: GraphBuilder.opset },
        ...(this.graph.node.some(n => n.domain === CONTRIB) ? [{ domain: CONTRIB, version: 1 }] : [])
      ],
      graph: this.graph
    });
  }

  private initializer(dataType: number, values: NumberArray, dims: number[]): string {
    const name = `c${this.count++}`;
    const rawData = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.graph.initializer.push({ name, dims, dataType, rawData });
    return name;
  }
}
