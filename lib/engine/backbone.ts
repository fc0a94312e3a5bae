import path from 'node:path';
import { fileOfSum } from './catalogue';
import { GoodpartsError } from './errors';
import { cutModel, pictureInput, PictureInput } from './onnx/cut';
import { readModel } from './onnx/file';
import { widen } from './onnx/precision';
import { decodeModel, ModelProto, toNumber } from './onnx/proto';
import { quantized, type RangeArray } from './ranges';
import type { Data, Runtime, Session } from './runtime';
import { findLayers, firstLine, Form, Network, openCut, Size, Trial, tryOut } from './taps';

/** A network cut after its layers, ready to run. */
export interface Backbone {
  sha256: string;
  /** tensor names of the layers, as given, or shallow first */
  layers: string[];
  /** channels of each layer */
  channels: number[];
  /** what each layer gives */
  forms: Form[];
  mean: number[];
  std: number[];
  /** the only picture size that it takes; undefined: any multiple of `multiple` pixels */
  size?: Size;
  multiple: number;
  /** it takes several pictures at once */
  batch: boolean;
  session: Session;
  /** the cut graph in float32, read again from its file */
  model(): Promise<ModelProto>;
}

interface BackboneFacts {
  sha256?: string;
  mean?: number[];
  std?: number[];
  taps?: string[];
  input?: { layout?: PictureInput['layout'] };
  /** pictures of multiples of so many pixels have maps of even sides before each pool */
  even?: number;
  /** what trying it out with its own taps shows, so that it need not be done at each start */
  trial?: Trial;
}

const MODELS = path.resolve(__dirname, '../../../models');
/** Normalisation of ImageNet networks; what a file is taken to expect when the catalogue does not know it. */
const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
/** The embedded backbone takes RGB in 0..1 and normalises inside. */
const EMBEDDED: BackboneFacts = {
  mean: [0, 0, 0],
  std: [1, 1, 1],
  taps: ['layer2', 'layer3'],
  even: 16,
  trial: {
    layers: [
      { tensor: 'layer2', channels: 128, stride: 8, form: { kind: 'map' } },
      { tensor: 'layer3', channels: 256, stride: 16, form: { kind: 'map' } }
    ],
    batch: true
  }
};
/** Before version 7 of the operators broadcasting had other rules, and ONNX Runtime does not promise to know them. */
const OLDEST_OPSET = 7;
/** How far a picture in a batch may be from the same picture alone; in 8 bits a value that lies on a step may fall to either side. */
const [EXACT, ROUNDED] = [1e-3, 5e-2];

/**
 * Reads a backbone, `embedded` or an .onnx file, finds its layers and loads it cut after the deepest one; in 8 bits where
 * their ranges are given.
 * @param wanted the only picture size that it will be given, if there is one
 * @throws GoodpartsError `backbone-missing`, `backbone-unreadable`, `backbone-input`, `backbone-operators`, `backbone-size`, `backbone-taps`
 */
export async function loadBackbone(
  runtime: Runtime,
  file: string,
  layers: string[],
  ranges?: RangeArray,
  wanted?: Size
): Promise<Backbone> {
  const { network, facts, sha256 } = await readNetwork(file);
  const named = layers.length ? layers : (facts.taps ?? []);
  checkTaps(network.model, named, file);
  const taps = named.length ? named : await findLayers(runtime, network);
  const even = wanted && facts.even && wanted.width % facts.even === 0 && wanted.height % facts.even === 0;
  const session = await openCut(
    runtime,
    network,
    taps,
    ranges ? cut => quantized(cut, ranges) : even ? flooringPools : undefined
  );
  try {
    const known = named === facts.taps ? facts.trial : undefined;
    const { layers: found, size, batch } = known ?? (await tryOut(session, network, taps, ranges ? ROUNDED : EXACT));
    const forms = found.map(layer => layer.form);
    return {
      sha256,
      layers: taps,
      channels: found.map(layer => layer.channels),
      forms,
      mean: facts.mean ?? IMAGENET.mean,
      std: facts.std ?? IMAGENET.std,
      size,
      multiple: Math.max(...forms.map(form => (form.kind === 'tokens' ? form.patch : 1))),
      batch,
      session,
      model: async () => {
        const again = (await readNetwork(file)).network;
        return decodeModel(cutModel(again.model, taps, again.input, file));
      }
    };
  } catch (error) {
    await session.release();
    throw error;
  }
}

/**
 * The same for maps of even sides, where there is nothing to round: ONNX Runtime's fast code knows no pool that rounds its size up, and
 * brings the maps into another order and back for it (7.5 ms instead of 7.1 for the embedded backbone).
 */
function flooringPools(model: ModelProto): ModelProto {
  for (const node of model.graph.node)
    if (node.opType === 'AveragePool') node.attribute = node.attribute.filter(a => a.name !== 'ceil_mode');
  return model;
}

async function readNetwork(file: string): Promise<{ network: Network; facts: BackboneFacts; sha256: string }> {
  const { model, fileSha256, sha256 } = await readModel(placeOf(file));
  widen(model);
  checkOperators(model, file);
  const facts: BackboneFacts = file === 'embedded' ? EMBEDDED : (fileOfSum(fileSha256)?.entry ?? {});
  return { network: { file, model, input: pictureInput(model.graph, file, facts.input?.layout) }, facts, sha256 };
}

/**
 * What the layers give for pictures, [N, 3, H, W], in the order of the layers.
 * @throws GoodpartsError `backbone-size` when the network cannot compute pictures of that size
 */
export async function runBackbone({ session, layers, batch }: Backbone, pictures: Data): Promise<Data[]> {
  const [count, , height, width] = pictures.dims;
  const run = async (feed: Data): Promise<Data[]> => {
    try {
      const maps = await session.run({ [session.inputs[0]]: feed });
      return layers.map(name => maps[name]);
    } catch (error) {
      throw new GoodpartsError(
        'backbone-size',
        `The backbone cannot compute pictures of ${width} x ${height} pixels: ${firstLine(error)}`
      );
    }
  };
  if (batch || count === 1) return run(pictures);
  const one = pictures.data.length / count;
  const each: Data[][] = [];
  for (let i = 0; i < count; i++)
    each.push(await run({ data: pictures.data.subarray(i * one, (i + 1) * one), dims: [1, 3, height, width] }));
  return layers.map((_, i) => ({
    data: joined(each.map(maps => maps[i].data)),
    dims: [count, ...each[0][i].dims.slice(1)]
  }));
}

/** One array after the other. */
export function joined(arrays: Float32Array[]): Float32Array {
  if (arrays.length === 1) return arrays[0];
  const all = new Float32Array(arrays.reduce((n, a) => n + a.length, 0));
  let at = 0;
  for (const array of arrays) {
    all.set(array, at);
    at += array.length;
  }
  return all;
}

/** The picture size that the backbone is given where `wanted` was asked for: its only one, or whole patches of a transformer. */
export function sizeFor({ size, multiple }: Backbone, wanted: Size): Size {
  const whole = (side: number): number => Math.max(multiple, side - (side % multiple));
  return size ?? { width: whole(wanted.width), height: whole(wanted.height) };
}

function placeOf(file: string): string {
  return file === 'embedded' ? path.join(MODELS, 'backbone.onnx') : path.resolve(file);
}

/** Networks keep the version of the operators that they were written with; ONNX Runtime knows every one from 7 on to its own. */
export function checkOperators({ opsetImport }: ModelProto, file: string): void {
  const version = toNumber(opsetImport.find(o => !o.domain || o.domain === 'ai.onnx')?.version);
  if (version && version < OLDEST_OPSET)
    throw new GoodpartsError(
      'backbone-operators',
      `${file} is written with version ${version} of the ONNX operators; export it again with version ${OLDEST_OPSET} or newer.`
    );
}

function checkTaps({ graph }: ModelProto, taps: string[], file: string): void {
  const tensors = new Set(graph.node.flatMap(n => n.output));
  const missing = taps.filter(t => !tensors.has(t));
  if (missing.length)
    throw new GoodpartsError(
      'backbone-taps',
      `${file} has no tensor called ${missing.join(', ')}; correct the layers in the model's settings.`
    );
  const twice = taps.find((t, i) => taps.indexOf(t) < i);
  if (twice) throw new GoodpartsError('backbone-taps', `The layer ${twice} is named twice; name each layer once.`);
}
