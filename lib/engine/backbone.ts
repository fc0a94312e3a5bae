import crypto from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { GoodpartsError } from './errors';
import { Candidate, cutModel, layerCandidates, pictureInput } from './onnx/cut';
import { decodeModel, ModelProto, reencodeModel } from './onnx/proto';
import { quantized, type RangeArray } from './ranges';
import type { Runtime, Session } from './runtime';

/** A network cut after its layers, ready to run. */
export interface Backbone {
  sha256: string;
  /** tensor names of the layers, shallow first */
  layers: string[];
  /** channels of each layer */
  channels: number[];
  mean: number[];
  std: number[];
  session: Session;
  /** the cut graph in float32 */
  model(): ModelProto;
}

interface BackboneFacts {
  sha256: string;
  mean?: number[];
  std?: number[];
  taps?: string[];
}

const MODELS = path.resolve(__dirname, '../../../models');
/** Normalisation of ImageNet networks; what a file is taken to expect when the catalogue does not know it. */
const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
/** The embedded backbone takes RGB in 0..1 and normalises inside. */
const EMBEDDED = { mean: [0, 0, 0], std: [1, 1, 1], taps: ['layer2', 'layer3'] };
/** Strides at which a layer is taken when nothing names the layers: the paper's layer2 and layer3. */
const STRIDES = [8, 16];
const PROBE = 256;

/**
 * Reads a backbone, `embedded` or an .onnx file, finds its layers and loads it cut after the deepest one; in 8 bits where their
 * ranges are given.
 * @throws GoodpartsError `backbone-missing`, `backbone-unreadable`, `backbone-taps`
 */
export async function loadBackbone(
  runtime: Runtime,
  file: string,
  layers: string[],
  ranges?: RangeArray
): Promise<Backbone> {
  const bytes = await readBackbone(file);
  const sha256 = crypto.createHash('sha256').update(bytes).digest('hex');
  const model = decoded(bytes, file);
  if (!pictureInput(model.graph))
    throw new GoodpartsError('backbone-unreadable', `${file} takes no picture: it has no input.`);
  const facts: BackboneFacts =
    file === 'embedded' ? { sha256, ...EMBEDDED } : ((await catalogued(sha256)) ?? { sha256 });
  const wanted = layers.length ? layers : (facts.taps ?? []);
  const taps = wanted.length ? wanted : await findLayers(runtime, model, file);
  checkTaps(model, taps, file);
  const exact = cutModel(model, taps);
  const cut = ranges ? reencodeModel(quantized(decodeModel(exact), ranges)) : exact;
  const session = await open(runtime, cut, file);
  const channels = (await probe(session, file)).map(dims => dims[1]);
  const { mean, std } = { ...IMAGENET, ...facts };
  return { sha256, layers: taps, channels, mean, std, session, model: () => decodeModel(exact) };
}

async function readBackbone(file: string): Promise<Buffer> {
  const where = file === 'embedded' ? path.join(MODELS, 'backbone.onnx') : path.resolve(file);
  try {
    return await fs.readFile(where);
  } catch (error) {
    throw new GoodpartsError(
      'backbone-missing',
      `The backbone file ${where} cannot be read (${(error as NodeJS.ErrnoException).code}).`
    );
  }
}

function decoded(bytes: Buffer, file: string): ModelProto {
  try {
    return decodeModel(bytes);
  } catch (error) {
    throw error instanceof GoodpartsError ? new GoodpartsError(error.code, `${file}: ${error.message}`) : error;
  }
}

async function catalogued(sha256: string): Promise<BackboneFacts | undefined> {
  const { catalogue } = JSON.parse(await fs.readFile(path.join(MODELS, 'catalogue.json'), 'utf8')) as {
    catalogue: BackboneFacts[];
  };
  return catalogue.find(entry => entry.sha256 === sha256);
}

function checkTaps({ graph }: ModelProto, taps: string[], file: string): void {
  const tensors = new Set(graph.node.flatMap(n => n.output));
  const missing = taps.filter(t => !tensors.has(t));
  if (missing.length)
    throw new GoodpartsError(
      'backbone-taps',
      `${file} has no tensor called ${missing.join(', ')}; correct the layers in the model's settings.`
    );
}

async function open(runtime: Runtime, model: Uint8Array, file: string): Promise<Session> {
  try {
    return await runtime.session(model);
  } catch (error) {
    throw new GoodpartsError(
      'backbone-unreadable',
      `${file} cannot be run: ${(error as Error).message.split('\n')[0]}`
    );
  }
}

/** Shape of each output for a grey picture of PROBE x PROBE pixels. */
async function probe(session: Session, file: string): Promise<(readonly number[])[]> {
  const picture = { data: new Float32Array(3 * PROBE * PROBE), dims: [1, 3, PROBE, PROBE] };
  try {
    const maps = await session.run({ [session.inputs[0]]: picture });
    return session.outputs.map(name => maps[name].dims);
  } catch (error) {
    throw new GoodpartsError(
      'backbone-unreadable',
      `${file} does not take a ${PROBE} x ${PROBE} picture: ${(error as Error).message.split('\n')[0]}`
    );
  }
}

/**
 * The layers at strides 8 and 16, found by running the model: the graph's own outputs there, else the last residual sum (or the
 * activation it feeds), else the last concat.
 */
async function findLayers(runtime: Runtime, model: ModelProto, file: string): Promise<string[]> {
  const candidates = layerCandidates(model.graph);
  if (!candidates.length) throw noLayers(file);
  const names = [...new Set(candidates.map(c => c.tensor))];
  const session = await open(runtime, cutModel(model, names), file);
  const shapes = await probe(session, file);
  const outputs = session.outputs;
  await session.release();
  const stride = new Map(outputs.map((name, i) => [name, shapes[i].length === 4 ? nominalStride(shapes[i][2]) : NaN]));
  return STRIDES.map(s => best(candidates.filter(c => stride.get(c.tensor) === s)) ?? raise(noLayers(file)));
}

/** Pools without padding lose a cell or two, so that 256 / 31 counts as stride 8. */
function nominalStride(cells: number): number {
  return 2 ** Math.round(Math.log2(PROBE / cells));
}

function best(candidates: Candidate[]): string | undefined {
  for (const kind of ['output', 'residual', 'concat'] as const) {
    const last = candidates.filter(c => c.kind === kind).at(-1);
    if (last) return last.tensor;
  }
  return undefined;
}

const noLayers = (file: string): GoodpartsError =>
  new GoodpartsError(
    'backbone-taps',
    `No layers at strides 8 and 16 were found in ${file}; name two of its tensors as layers in the model's settings.`
  );

function raise(error: Error): never {
  throw error;
}
