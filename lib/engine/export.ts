import { entryOf, fileOfSum } from './catalogue';
import { aligns } from './align';
import { GoodpartsError } from './errors';
import { extractorGraphs, type Extractor } from './features';
import { axisMatrix } from './graphs/map';
import { searchGraph } from './graphs/search';
import { verdictGraph, windowGraph } from './graphs/whole';
import { ratingOf } from './head';
import { isRestricted } from './polygons';
import { GraphBuilder } from './onnx/builder';
import { fuse, type Part } from './onnx/fuse';
import { DataType, decodeModel, type ModelProto, type ValueInfoProto } from './onnx/proto';
import { upgrade } from './onnx/upgrade';
import { squaredLengths } from './pairs';
import { PRESETS } from './presets';
import { quantized } from './ranges';
import type { StoredDetector } from './store';
import { limitOf, type LimitRule } from './threshold';
import type { Stored } from './version';

/** protobuf, and so ONNX, ends here. */
const LARGEST = 2 ** 31 - 1;

/** What `exportOnnx` is given: a version, read whole, and the extractor of its settings. */
export interface ExportParts {
  stored: StoredDetector;
  extractor: Extractor;
  /** from which score on a picture is anomalous, unless whoever runs the graph says otherwise */
  limit: LimitRule;
}

/**
 * A detector as one serialized ONNX model that any ONNX Runtime runs, from the pixels to the verdict, with the same numbers as here.
 *
 * Inputs: `image` uint8 [H, W, 3], RGB, upright, of any size; `threshold` float32 [1], optional. Outputs: `score` float32 [1]; `map`
 * float32 [H, W], NaN where nothing was inspected; `anomalous` bool [1], whether the score is above the threshold. metadata_props say
 * which detector it is, how its threshold was drawn, and whose licence the backbone is under.
 * @throws GoodpartsError `export-kind`, `export-region`, `export-operators`, `export-too-large`
 */
export async function exportOnnx({ stored, extractor, limit }: ExportParts): Promise<Uint8Array> {
  const { info, arrays } = stored;
  if (info.kind === 'ensemble')
    throw new GoodpartsError(
      'export-kind',
      `Detector "${info.name}" has a second backbone, which an exported network cannot hold. Fit one with each backbone by itself.`
    );
  if (info.kind && info.kind !== 'patchcore')
    throw new GoodpartsError(
      'export-kind',
      `Detector "${info.name}" is of the kind ${info.kind}; its network is an ONNX file already, in the folder of its version.`
    );
  const { settings, dimensions } = info as Stored<'patchcore'>;
  if (settings.tile || aligns(settings))
    throw new GoodpartsError(
      'export-kind',
      `Detector "${info.name}" cuts pictures into tiles or aligns parts, which an exported network cannot do. Fit one without, from pictures that are cut or turned already.`
    );
  if (isRestricted(settings.region))
    throw new GoodpartsError(
      'export-region',
      `Detector "${info.name}" inspects a region of the picture only, to which an exported network cannot keep. Fit one without a region, from pictures that are cut to it.`
    );
  const { backbone, size } = extractor;
  const { enlarge, edges } = PRESETS[settings.preset];
  const graphs = extractorGraphs(backbone, settings, size);
  const bank = arrays.bank.data as Float32Array;
  const network = await networkOf(extractor);
  const grid = await gridOf(extractor);
  const axis = { enlarge, edges, sigma: settings.smoothing };
  const window = { original: 'window/original', size: 'window/size', start: 'window/start' };
  const parts: Part[] = [
    part('window', windowGraph(size, settings.resizeShorter), { image: 'image' }),
    part('preprocess', graphs.preprocess, {
      ...window,
      image: 'image'
    }),
    { prefix: 'backbone/', model: network, feeds: { [network.graph.input[0].name]: 'preprocess/input' } },
    part(
      'patch',
      graphs.patch,
      Object.fromEntries(backbone.layers.map((name, i) => [`layer${i}`, `backbone/${name}`]))
    ),
    part('queries', queriesGraph(bank, dimensions), { patches: 'patch/patches' }),
    part('search', searchGraph({ ...ratingOf(settings), bank, dimensions }), {
      patches: 'queries/queries',
      norms: 'queries/norms',
      score: 'score'
    }),
    part(
      'verdict',
      verdictGraph({
        grid,
        down: axisMatrix(grid.rows, size.height, axis),
        across: axisMatrix(grid.columns, size.width, axis),
        cropped: settings.resizeShorter > 0
      }),
      {
        ...window,
        distances: 'search/distances',
        score: 'score',
        threshold: 'threshold',
        map: 'map',
        anomalous: 'anomalous'
      }
    )
  ];
  const threshold = limitOf(limit, info.calibration.scores);
  parts.at(-1)!.model.graph.initializer.push({
    name: 'threshold',
    dims: [1],
    dataType: DataType.float,
    rawData: new Uint8Array(Float32Array.of(threshold).buffer)
  });
  const bytes = bank.byteLength + network.graph.initializer.reduce((sum, t) => sum + (t.rawData?.length ?? 0), 0);
  if (bytes > LARGEST * 0.98)
    throw new GoodpartsError(
      'export-too-large',
      `An ONNX file holds 2 GB at most; the memory bank and the backbone of "${info.name}" have ${(bytes / 1e9).toFixed(1)} GB. Fit with a smaller bank.`
    );
  return fuse({
    parts,
    inputs: [value('image', 'uint8', ['height', 'width', 3]), value('threshold', 'float', [1])],
    outputs: [
      value('score', 'float', [1]),
      value('map', 'float', ['height', 'width']),
      value('anomalous', 'bool', [1])
    ],
    metadata: metadataOf(info as Stored<'patchcore'>, limit, threshold),
    description: `PatchCore detector "${info.name}" ${info.version}: RGB picture in; score, anomaly map and verdict out.`
  });
}

const part = (name: string, graph: Uint8Array, feeds: Record<string, string>): Part => ({
  prefix: `${name}/`,
  model: decodeModel(graph),
  feeds
});

/** The backbone as this detector runs it, in the operators of our graphs. */
async function networkOf({ backbone, ranges }: Extractor): Promise<ModelProto> {
  const cut = await backbone.model();
  const model = ranges ? quantized(cut, ranges) : cut;
  const why = upgrade(model, GraphBuilder.opset);
  if (why)
    throw new GoodpartsError(
      'export-operators',
      `The backbone is written in an older version of the ONNX operators and has ${why}, which cannot be brought to version ${GraphBuilder.opset}; export the backbone again with version ${GraphBuilder.opset} or newer.`
    );
  return model;
}

/** Rows and columns of the patches, seen by running an empty picture. */
async function gridOf(extractor: Extractor): Promise<{ rows: number; columns: number }> {
  const { width, height } = extractor.size;
  const { rows, columns } = await extractor.embed([new Float32Array(3 * width * height)]);
  return { rows, columns };
}

/** The patches of the only picture, and what the search wants to know of the bank. */
function queriesGraph(bank: Float32Array, dimensions: number): Uint8Array {
  const g = new GraphBuilder();
  const patches = g.input('patches', 'float', [1, 'P', dimensions]);
  g.output(g.op('Squeeze', [patches, g.ints(0)]), 'queries', 'float', ['P', dimensions]);
  const norms = squaredLengths(bank, dimensions);
  g.output(g.floats(norms, [norms.length]), 'norms', 'float', [norms.length]);
  return g.build();
}

function value(name: string, type: 'uint8' | 'float' | 'bool', dims: (number | string)[]): ValueInfoProto {
  const dim = dims.map(d => (typeof d === 'number' ? { dimValue: d } : { dimParam: d }));
  return { name, type: { tensorType: { elemType: DataType[type], shape: { dim } } } };
}

function metadataOf(info: Stored<'patchcore'>, limit: LimitRule, threshold: number): Record<string, string> {
  const { name, version, created, images, bankSize, settings, backboneSha256 } = info;
  return {
    name,
    version,
    created,
    threshold: String(threshold),
    threshold_rule: `${limit.method} ${limit.value}`,
    good_images: String(images),
    bank_size: String(bankSize),
    preset: settings.preset,
    precision: settings.precision,
    backbone: backboneName(settings.backbone),
    backbone_sha256: backboneSha256,
    backbone_licence: licenceOf(settings.backbone, backboneSha256)
  };
}

/** Not the path: it tells of somebody's machine. */
const backboneName = (backbone: string): string => backbone.split(/[\\/]/).at(-1)!;

/** What is known of the licence under which a backbone may be passed on. */
export function licenceOf(backbone: string, sha256: string): string {
  if (backbone === 'embedded') return 'Apache-2.0 (Goodparts)';
  const entry = fileOfSum(sha256)?.entry ?? entryOf(backbone);
  return entry ? `${entry.licence} (${entry.caveat})` : 'not known: ask whoever made the backbone';
}
