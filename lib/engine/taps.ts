import { GoodpartsError } from './errors';
import { cutModel, PictureInput } from './onnx/cut';
import { decodeModel, ModelProto, reencodeModel } from './onnx/proto';
import { Candidate, KINDS, layerCandidates, patchSide, poolsFixedMap } from './onnx/structure';
import { randomStream } from './random';
import type { Data, Runtime, Session } from './runtime';
import type { Size } from './types';

export type { Size };

/** What a layer gives for a batch of N pictures. */
export type Form =
  /** [N, C, h, w] */
  | { kind: 'map' }
  /** [N, h, w, C] */
  | { kind: 'channels-last' }
  /** [N, T, C] of a transformer: class and register tokens, then one a square of `patch` x `patch` pixels, row by row */
  | { kind: 'tokens'; patch: number };

export interface Layer {
  tensor: string;
  channels: number;
  /** picture pixels to one cell of the layer, rounded to a power of two for maps */
  stride: number;
  form: Form;
}

/** A network as its file gives it. */
export interface Network {
  /** what people call it */
  file: string;
  model: ModelProto;
  input: PictureInput;
}

/** What trying out a cut network has shown. */
export interface Trial {
  layers: Layer[];
  /** the only picture size that it takes; undefined: any */
  size?: Size;
  /** it takes several pictures at once */
  batch: boolean;
}

/** Strides at which a layer is taken when nothing names the layers: the paper's layer2 and layer3. */
const STRIDES = [8, 16];
/** Side of the picture that a network is tried out with, pixels; the second where the file names the first itself. */
const SIDES = [256, 320];
/** What networks without a stated size were mostly trained on. */
const USUAL = { width: 224, height: 224 };
/** Class and register tokens of a transformer: 1 and 4 in practice. */
const MOST_OTHER_TOKENS = 16;

/**
 * Loads the network cut after `taps`.
 * @param rewrite what is done with the cut network before
 * @throws GoodpartsError `backbone-input`, `backbone-operators`, `backbone-unreadable`
 */
export async function openCut(
  runtime: Runtime,
  { file, model, input }: Network,
  taps: string[],
  rewrite?: (cut: ModelProto) => ModelProto
): Promise<Session> {
  const cut = cutModel(model, taps, input, file);
  const bytes = rewrite ? reencodeModel(rewrite(decodeModel(cut))) : cut;
  try {
    return await runtime.session(bytes);
  } catch (error) {
    throw unusable(file, runtime, firstLine(error));
  }
}

/** Why ONNX Runtime does not load a network, in words; what it says itself is long and meant for its makers. */
function unusable(file: string, { version }: Runtime, why: string): GoodpartsError {
  const operator = /(?:No Op registered for|error: )\s*([\w.:]+)(?:\(| with|.*is not a registered)/.exec(why)?.[1];
  if (operator)
    return new GoodpartsError(
      'backbone-operators',
      `${file} uses the operator ${operator}, which ONNX Runtime ${version} does not have; export it with standard operators.`
    );
  const [, opset, newest] = /Opset (\d+) is under development.* is till opset (\d+)/.exec(why) ?? [];
  if (opset)
    return new GoodpartsError(
      'backbone-operators',
      `${file} is written with version ${opset} of the ONNX operators; ONNX Runtime ${version} knows them up to version ${newest}. Export it again with that.`
    );
  return new GoodpartsError('backbone-unreadable', `${file} cannot be run: ${why}`);
}

/** Sizes to try, the first one that works counts: another than the file names, which shows that any will do, then its own. */
function trialSizes({ model, input }: Network, taps: string[]): Size[] {
  const patch = patchSide(model.graph);
  const [side] = SIDES.map(s => s - (s % patch)).filter(s => s !== input.size?.width);
  const own = input.size ?? USUAL;
  return input.size && poolsFixedMap(model.graph, taps) ? [own] : [{ width: side, height: side }, own];
}

/** Noise, so that a layer that mixes pictures up gives itself away; [count, 3, height, width]. */
function noise(count: number, { width, height }: Size): Data {
  const random = randomStream(8);
  return { data: Float32Array.from({ length: count * 3 * width * height }, random), dims: [count, 3, height, width] };
}

/** Runs the first of the sizes that works. */
async function firstRun(
  session: Session,
  network: Network,
  sizes: Size[]
): Promise<{ size: Size; maps: Record<string, Data> }> {
  let why = '';
  for (const size of sizes)
    try {
      return { size, maps: await session.run({ [session.inputs[0]]: noise(1, size) }) };
    } catch (error) {
      why ||= firstLine(error);
    }
  const tried = sizes.map(({ width, height }) => `${width} x ${height}`).join(' or ');
  throw new GoodpartsError('backbone-size', `${network.file} does not take a picture of ${tried} pixels: ${why}`);
}

/**
 * Finds out what the taps are, which picture sizes the cut network takes, and whether it takes several pictures at once.
 * @param tolerance of a picture in a batch, see takesBatches
 * @throws GoodpartsError `backbone-size`, `backbone-taps` when a tap is neither a map nor the tokens of a transformer
 */
export async function tryOut(session: Session, network: Network, taps: string[], tolerance: number): Promise<Trial> {
  const sizes = trialSizes(network, taps);
  const { size, maps } = await firstRun(session, network, sizes);
  const patch = patchSide(network.model.graph);
  const layers = taps.map(
    tensor => layerOf(tensor, maps[tensor].dims, size, patch) ?? raise(noMap(network.file, tensor, maps[tensor].dims))
  );
  const batch = await takesBatches(session, size, maps, tolerance);
  return { layers, batch, ...(size === sizes.at(-1) && { size }) };
}

/** Whether two pictures at once give what one alone gives: a network may have been exported for a single one. */
async function takesBatches(
  session: Session,
  size: Size,
  alone: Record<string, Data>,
  tolerance: number
): Promise<boolean> {
  try {
    const both = await session.run({ [session.inputs[0]]: noise(2, size) });
    return Object.entries(alone).every(([name, one]) => {
      const two = both[name];
      const scale = one.data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      const same = one.data.every((value, i) => Math.abs(two.data[i] - value) <= tolerance * scale);
      return two.dims[0] === 2 && two.data.length === 2 * one.data.length && same;
    });
  } catch {
    return false;
  }
}

/** What a tensor of these dims is, for one picture of `size`; undefined where it has no place for every part of the picture. */
export function layerOf(tensor: string, dims: readonly number[], size: Size, patch: number): Layer | undefined {
  const { width, height } = size;
  if (dims.length === 3) {
    const [, count, channels] = dims;
    const side = tokenSide(count, size, patch);
    return side && channels > 1 ? { tensor, channels, stride: side, form: { kind: 'tokens', patch: side } } : undefined;
  }
  if (dims.length !== 4) return undefined;
  const alike = (h: number, w: number): boolean => h > 1 && w > 1 && Math.abs((h * width) / (w * height) - 1) < 0.15;
  const first = alike(dims[2], dims[3]);
  if (!first && !alike(dims[1], dims[2])) return undefined;
  const [channels, rows] = first ? [dims[1], dims[2]] : [dims[3], dims[1]];
  return { tensor, channels, stride: nominalStride(height, rows), form: { kind: first ? 'map' : 'channels-last' } };
}

/** Pools without padding lose a cell or two, so that 256 / 31 counts as stride 8. */
const nominalStride = (side: number, cells: number): number => 2 ** Math.round(Math.log2(side / cells));

/** Side of the squares that `count` tokens stand for: that of the first convolution, or the one that leaves the fewest other tokens. */
function tokenSide(count: number, { width, height }: Size, patch: number): number | undefined {
  const sides = patch > 1 ? [patch] : Array.from({ length: 61 }, (_, i) => i + 4);
  const others = (side: number): number => count - (width / side) * (height / side);
  return sides
    .filter(side => width % side === 0 && height % side === 0)
    .filter(side => others(side) >= 0 && others(side) <= MOST_OTHER_TOKENS)
    .sort((a, b) => others(a) - others(b))[0];
}

/**
 * The layers to take where nobody names them, found by running the model. Of a convolutional network those at strides 8 and 16: the
 * graph's own outputs there, else the last residual sum (or the Relu it feeds), else the last concat, else the last activation. Of a
 * transformer its tokens: the graph's own output, else the last block's sum after its normalisation.
 * @throws GoodpartsError `backbone-taps` when there are none
 */
export async function findLayers(runtime: Runtime, network: Network): Promise<string[]> {
  const candidates = layerCandidates(network.model.graph);
  const names = [...new Set(candidates.map(c => c.tensor))];
  if (!names.length) throw noLayers(network.file);
  const session = await openCut(runtime, network, names);
  try {
    const { size, maps } = await firstRun(session, network, trialSizes(network, names));
    const patch = patchSide(network.model.graph);
    const layers = new Map(names.map(name => [name, layerOf(name, maps[name].dims, size, patch)]));
    const atStride = (stride: number): Candidate[] =>
      candidates.filter(c => layers.get(c.tensor)?.stride === stride && layers.get(c.tensor)?.form.kind !== 'tokens');
    const found = STRIDES.flatMap(stride => best(atStride(stride)) ?? []);
    if (found.length === STRIDES.length) return found;
    const tokens = candidates.filter(c => layers.get(c.tensor)?.form.kind === 'tokens');
    return [lastTokens(tokens) ?? raise(noLayers(network.file))];
  } finally {
    await session.release();
  }
}

function best(candidates: Candidate[]): string | undefined {
  for (const kind of KINDS) {
    const last = candidates.filter(c => c.kind === kind).at(-1);
    if (last) return last.tensor;
  }
  return undefined;
}

function lastTokens(tokens: Candidate[]): string | undefined {
  const last = (kinds: Candidate['kind'][]): string | undefined =>
    tokens.filter(c => kinds.includes(c.kind)).at(-1)?.tensor;
  return last(['output']) ?? last(['norm', 'residual']);
}

const noMap = (file: string, tensor: string, dims: readonly number[]): GoodpartsError =>
  new GoodpartsError(
    'backbone-taps',
    `${tensor} of ${file} is [${dims.join(', ')}], neither a map of the picture nor a transformer's tokens; choose another layer in the model's settings.`
  );

const noLayers = (file: string): GoodpartsError =>
  new GoodpartsError(
    'backbone-taps',
    `No layers at strides 8 and 16 and no patch tokens were found in ${file}; name its tensors as layers in the model's settings.`
  );

export const firstLine = (error: unknown): string => (error as Error).message.split('\n')[0];

function raise(error: Error): never {
  throw error;
}
