import fs from 'node:fs';
import path from 'node:path';
import protobuf from 'protobufjs';
import { GoodpartsError } from '../errors';

/** A 64-bit number: protobufjs gives it as a Long. */
export type Int64 = number | { toNumber(): number };

/** The parts of onnx.proto that the engine reads or writes; field names as protobufjs gives them (camel case). */
export interface TensorProto {
  name?: string;
  dims?: Int64[];
  dataType?: number;
  rawData?: Uint8Array;
  floatData?: number[];
  int32Data?: number[];
  /** 1: the numbers are in another file, which `externalData` names */
  dataLocation?: number;
  externalData?: { key: string; value: string }[];
}
export interface AttributeProto {
  name: string;
  type: number;
  i?: Int64;
  f?: number;
  s?: Uint8Array;
  ints?: Int64[];
  floats?: number[];
  t?: TensorProto;
  tensors?: TensorProto[];
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
  dimValue?: Int64;
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
  irVersion: Int64;
  producerName?: string;
  opsetImport: { domain?: string; version: Int64 }[];
  docString?: string;
  metadataProps?: { key: string; value: string }[];
  graph: GraphProto;
  /** what the file says of itself */
  /** operators that the model defines itself */
  functions?: { node: NodeProto[] }[];
}

/** TensorProto.DataType */
export const DataType = {
  float: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  double: 11,
  bfloat16: 16
} as const;
export type DataTypeName = keyof typeof DataType;

export const toNumber = (n: Int64 | undefined): number => (typeof n === 'object' ? n.toNumber() : (n ?? 0));

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

/** The graphs inside of a node: branches and loop bodies. */
export const innerGraphs = (node: NodeProto): GraphProto[] =>
  node.attribute.flatMap(a => [...(a.g ? [a.g] : []), ...(a.graphs ?? [])]);

/** Every node of the model, those of branches, loops and functions included. */
export function allNodes(model: ModelProto): NodeProto[] {
  const inside = (nodes: NodeProto[]): NodeProto[] =>
    nodes.flatMap(n => [n, ...innerGraphs(n).flatMap(g => inside(g.node))]);
  return [...inside(model.graph.node), ...(model.functions ?? []).flatMap(f => inside(f.node))];
}

/** Every tensor that the model holds: weights, and constants in nodes. */
export function allTensors(model: ModelProto): TensorProto[] {
  const nodes = allNodes(model);
  const graphs = [model.graph, ...nodes.flatMap(innerGraphs)];
  const inNodes = nodes.flatMap(n => n.attribute.flatMap(a => [...(a.t ? [a.t] : []), ...(a.tensors ?? [])]));
  return [...graphs.flatMap(g => g.initializer), ...inNodes];
}
