import { GoodpartsError } from '../errors';
import { pictureInput, type PictureInput } from '../onnx/cut';
import { DataType, type GraphProto, type ModelProto, type NodeProto, toNumber } from '../onnx/proto';
import type { Calibration, FitSettings, NetworkFacts, NetworkFormat, Size } from '../types';
import { constantsOf, neverScaled, producersOf, singleOf } from './graph';
import { readMetadata, type Metadata } from './metadata';

/** What is known of a detector network before it has been run. */
export type Recognised = Omit<NetworkFacts, 'covered'> & { own?: Calibration['own'] };

interface Output {
  name: string;
  /** undefined where the file leaves a dimension, or all of them, open */
  dims?: (number | undefined)[];
}
type Names = NetworkFacts['outputs'];

const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const VALUES = {
  unit: { mean: [0, 0, 0], std: [1, 1, 1] },
  signed: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
  imagenet: IMAGENET
};
/** Where a network takes pictures of any size and nothing says which. */
const USUAL: Size = { width: 256, height: 256 };

function outputsOf({ output }: GraphProto): Output[] {
  const floats = output.filter(o => (o.type?.tensorType?.elemType ?? DataType.float) === DataType.float);
  return floats.map(({ name, type }) => ({
    name,
    dims: type?.tensorType?.shape?.dim.map(d => toNumber(d.dimValue) || undefined)
  }));
}

const named = (outputs: Output[], ...names: string[]): string | undefined =>
  outputs.find(o => names.includes(o.name.toLowerCase()))?.name;

/** How each format is told, by its outputs; the first that fits counts. */
const FORMATS: [NetworkFormat, (outputs: Output[], metadata: Metadata) => Names | undefined][] = [
  // 1.x: its post-processing stands in metadata.json; what is not a picture of scores is the score
  [
    'anomalib-1',
    (outputs, { own }) => {
      if (!own) return undefined;
      const map = named(outputs, 'anomaly_map') ?? outputs.find(o => (o.dims?.length ?? 4) > 2)?.name;
      return { map, score: named(outputs, 'pred_score') ?? outputs.find(o => o.dims && o.dims.length <= 2)?.name };
    }
  ],
  ['anomalib', outputs => ({ score: named(outputs, 'pred_score'), map: named(outputs, 'anomaly_map') })],
  ['efficientad', outputs => ({ score: named(outputs, 'image_score'), map: named(outputs, 'combined_map') })],
  [
    'autoencoder',
    ([only, ...others]) => {
      const dims = only?.dims ?? [1, 3, undefined, undefined];
      const picture = dims.length === 4 && [dims[1] ?? 3, dims[3] ?? 3].includes(3);
      return picture && !others.length ? { picture: only?.name } : undefined;
    }
  ]
];

/**
 * Tells by its outputs what kind of detector a network is, and so how it wants its pictures and what its numbers mean.
 * @param beside text of a metadata.json that lies beside the file
 * @throws GoodpartsError `network-unknown` naming the outputs, `backbone-input`, `backbone-size`
 */
export function recognise(model: ModelProto, file: string, settings: FitSettings, beside?: string): Recognised {
  const { graph } = model;
  const outputs = outputsOf(graph);
  const metadata = readMetadata(beside);
  const found = FORMATS.map(([format, read]) => ({ format, outputs: read(outputs, metadata) })).find(({ outputs }) =>
    Object.values(outputs ?? {}).some(Boolean)
  );
  if (!found?.outputs) throw unknown(graph, file);
  const { format } = found;
  const input = pictureInput(graph, file);
  const shown = outputs.find(o => o.name === (found.outputs!.map ?? found.outputs!.picture))?.dims;
  const size = sizeOf(input, shown, metadata, settings, file);
  return {
    format,
    outputs: present(found.outputs),
    input: size,
    resized: metadata.crop ? { ...size, ...metadata.resized } : size,
    ...valuesOf(format, graph, input, metadata, settings),
    ...(format === 'autoencoder' && { reconstruction: settings.reconstruction ?? 'mse' }),
    own: ownOf(format, graph, metadata)
  };
}

const present = (names: Names): Names => Object.fromEntries(Object.entries(names).filter(([, name]) => name));

function unknown({ output }: GraphProto, file: string): GoodpartsError {
  const list = output.map(({ name, type }) => {
    const dims = type?.tensorType?.shape?.dim.map(d => d.dimParam || toNumber(d.dimValue) || '?') ?? ['?'];
    return `${name} [${dims.join(', ')}]`;
  });
  return new GoodpartsError(
    'network-unknown',
    `${file} is no detector that can be read: its outputs are ${list.join('; ')}. Known are exports of anomalib 2 (pred_score, anomaly_map), ` +
      'of anomalib 1 with metadata.json beside the file, of EfficientAD (combined_map, image_score), and autoencoders, whose one output is ' +
      'a picture as large as their input. A network that only sees, such as a ResNet, is a backbone: give it as that.'
  );
}

/** The size that the file names; else that which its map has, or which was asked for. */
function sizeOf(
  { size, layout }: PictureInput,
  shown: Output['dims'],
  metadata: Metadata,
  { inputWidth, inputHeight }: FitSettings,
  file: string
): Size {
  const asked =
    inputWidth || inputHeight ? { width: inputWidth ?? inputHeight!, height: inputHeight ?? inputWidth! } : undefined;
  if (size && asked && (size.width !== asked.width || size.height !== asked.height))
    throw new GoodpartsError(
      'backbone-size',
      `${file} takes pictures of ${size.width} x ${size.height} pixels only; leave the input size empty, or set it to that.`
    );
  const [height, width] = (layout === 'NHWC' ? shown?.slice(1, 3) : shown?.slice(-2)) ?? [];
  const drawn = width && height ? { width, height } : undefined;
  return size ?? asked ?? metadata.crop ?? metadata.resized ?? drawn ?? USUAL;
}

function valuesOf(
  format: NetworkFormat,
  graph: GraphProto,
  input: PictureInput,
  metadata: Metadata,
  { networkInput = 'auto' }: FitSettings
): { mean: number[]; std: number[] } {
  if (networkInput !== 'auto') return VALUES[networkInput];
  if (format === 'anomalib-1') return metadata.values ?? VALUES.unit;
  // nelson1425's loader normalises the picture, rximg's and anomalib's networks do so themselves
  if (format === 'efficientad') return normalises(graph, input) ? VALUES.unit : VALUES.imagenet;
  if (format === 'autoencoder') return endsWith(graph, 'Tanh') ? VALUES.signed : VALUES.unit;
  return VALUES.unit;
}

/** What may lie between the picture and the first thing that is computed from it. */
const PASSING = ['Identity', 'Cast', 'Reshape', 'Resize', 'Transpose', 'Slice'];

/** Whether the graph subtracts a mean from the picture, one a channel. */
function normalises(graph: GraphProto, { name }: PictureInput): boolean {
  const constants = constantsOf(graph);
  const perChannel = ({ input }: NodeProto): boolean =>
    input.some(i => {
      const dims = constants.get(i)?.dims?.map(toNumber) ?? [];
      return dims.reduce((a, b) => a * b, 1) === 3;
    });
  const reached = new Set([name]);
  for (const node of graph.node) {
    if (!node.input.some(i => reached.has(i))) continue;
    if (['Sub', 'Add', 'Mul', 'Div', 'BatchNormalization'].includes(node.opType) && perChannel(node)) return true;
    if (PASSING.includes(node.opType)) reached.add(node.output[0]);
  }
  return false;
}

/** Whether the last thing computed is `opType`, but for a change of layout. */
function endsWith(graph: GraphProto, opType: string): boolean {
  const producers = producersOf(graph);
  let node = producers.get(graph.output[0].name);
  while (node && PASSING.includes(node.opType)) node = producers.get(node.input[0]);
  return node?.opType === opType;
}

/** anomalib 2 scales its numbers so that .5 is the boundary, or another number that its sensitivity was set to; unless it was never validated. */
function ownOf(format: NetworkFormat, graph: GraphProto, metadata: Metadata): Calibration['own'] {
  if (format === 'anomalib-1') return metadata.own;
  if (format !== 'anomalib') return undefined;
  const boundary = (label: string, scaled: string): number | undefined => {
    if (!graph.output.some(o => o.name === label) || neverScaled(graph, scaled)) return undefined;
    const node = producersOf(graph).get(label);
    return (node?.opType === 'Greater' ? singleOf(constantsOf(graph).get(node.input[1])) : undefined) ?? 0.5;
  };
  const own = { score: boundary('pred_label', 'pred_score'), map: boundary('pred_mask', 'anomaly_map') };
  return own.score === undefined && own.map === undefined ? undefined : own;
}
