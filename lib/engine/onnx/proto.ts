import fs from 'node:fs';
import path from 'node:path';
import protobuf from 'protobufjs';
import { GoodpartsError } from '../errors';

/** The parts of onnx.proto that the engine reads or writes; field names as protobufjs gives them (camel case). */
export interface TensorProto {
  name?: string;
  dims?: (number | { toNumber(): number })[];
  dataType?: number;
  rawData?: Uint8Array;
  floatData?: number[];
}
export interface AttributeProto {
  name: string;
  type: number;
  i?: number;
  f?: number;
  s?: Uint8Array;
  ints?: number[];
  floats?: number[];
  t?: TensorProto;
  g?: GraphProto;
  graphs?: GraphProto[];
}
export interface NodeProto {
  name?: string;
  opType: string;
  domain?: string;
  input: string[];
  output: string[];
  attribute: AttributeProto[];
}
interface Dimension {
  dimValue?: number | { toNumber(): number };
  dimParam?: string;
}
export interface ValueInfoProto {
  name: string;
  type?: { tensorType?: { elemType?: number; shape?: { dim: Dimension[] } } };
}
export interface GraphProto {
  name?: string;
  node: NodeProto[];
  initializer: TensorProto[];
  input: ValueInfoProto[];
  output: ValueInfoProto[];
  valueInfo?: ValueInfoProto[];
}
export interface ModelProto {
  irVersion: number;
  producerName?: string;
  opsetImport: { domain?: string; version: number }[];
  graph: GraphProto;
}

/** TensorProto.DataType */
export const DataType = { float: 1, uint8: 2, int8: 3, int32: 6, int64: 7 } as const;
export type DataTypeName = keyof typeof DataType;

let modelType: protobuf.Type | undefined;

/** The message type of the official onnx.proto, parsed once a process. */
function onnxModel(): protobuf.Type {
  modelType ??= protobuf
    .parse(fs.readFileSync(path.join(__dirname, 'onnx.proto'), 'utf8'))
    .root.lookupType('onnx.ModelProto');
  return modelType;
}

/**
 * Reads a serialized ONNX model. Weights stay views of `bytes`, they are not copied.
 * @throws GoodpartsError `backbone-unreadable` when the bytes are no ONNX model
 */
export function decodeModel(bytes: Uint8Array): ModelProto {
  const type = onnxModel();
  let model: ModelProto;
  try {
    model = type.decode(bytes) as unknown as ModelProto;
  } catch (error) {
    throw new GoodpartsError('backbone-unreadable', `This file is not an ONNX model: ${(error as Error).message}`);
  }
  if (!model.graph?.node?.length)
    throw new GoodpartsError('backbone-unreadable', 'This file is not an ONNX model: it holds no graph.');
  return model;
}

export function encodeModel(model: ModelProto): Uint8Array {
  const type = onnxModel();
  return type.encode(type.fromObject(model)).finish();
}

/** Encodes a model that `decodeModel` gave (or one made of its parts) without walking through its weights again. */
export function reencodeModel(model: ModelProto): Uint8Array {
  return onnxModel()
    .encode(model as unknown as protobuf.Message)
    .finish();
}
