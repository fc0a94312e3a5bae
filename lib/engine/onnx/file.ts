import crypto from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { GoodpartsError } from '../errors';
import { allTensors, decodeModel, ModelProto, TensorProto } from './proto';

export interface ModelFile {
  model: ModelProto;
  /** of the .onnx file alone: what a catalogue knows it by */
  fileSha256: string;
  /** of everything that makes the network: the .onnx file and the files that its weights lie in */
  sha256: string;
}

const EXTERNAL = 1;
const sum = (bytes: Uint8Array | string): string => crypto.createHash('sha256').update(bytes).digest('hex');

/**
 * Reads an .onnx file with the files that its weights lie in (`model.onnx_data` and the like), which stand beside it.
 * @throws GoodpartsError `backbone-missing`, `backbone-unreadable`
 */
export async function readModel(place: string): Promise<ModelFile> {
  const bytes = await read(place, code => `The file ${place} cannot be read (${code}).`);
  let model: ModelProto;
  try {
    model = decodeModel(bytes);
  } catch (error) {
    if (!(error instanceof GoodpartsError)) throw error;
    throw new GoodpartsError(error.code, `${place}: ${error.message}`);
  }
  const fileSha256 = sum(bytes);
  const outside = allTensors(model).filter(t => t.dataLocation === EXTERNAL);
  if (!outside.length) return { model, fileSha256, sha256: fileSha256 };
  const names = [...new Set(outside.map(t => entry(t, 'location')))].sort();
  const files = new Map<string, Buffer>();
  for (const name of names) files.set(name, await readData(place, name));
  for (const tensor of outside) takeIn(tensor, files, place);
  return { model, fileSha256, sha256: sum([fileSha256, ...names.map(name => sum(files.get(name)!))].join('\n')) };
}

async function read(place: string, says: (code: string | undefined) => string): Promise<Buffer> {
  try {
    return await fs.readFile(place);
  } catch (error) {
    throw new GoodpartsError('backbone-missing', says((error as NodeJS.ErrnoException).code));
  }
}

const entry = (tensor: TensorProto, key: string): string =>
  tensor.externalData?.find(pair => pair.key === key)?.value ?? '';

/** A model may come from anywhere: what it names must not lead out of its own folder. */
function readData(place: string, name: string): Promise<Buffer> {
  const folder = path.dirname(path.resolve(place));
  const beside = path.resolve(folder, name);
  if (!name || path.isAbsolute(name) || !beside.startsWith(folder + path.sep))
    throw new GoodpartsError(
      'backbone-unreadable',
      `${place} keeps weights in "${name}", which is not beside it; export it again with its data in the same folder.`
    );
  return read(
    beside,
    code => `The weights of ${place} are in ${name}, which cannot be read (${code}); put both into the same folder.`
  );
}

/** Puts the numbers of a tensor into the model, as a view of the file that they lie in. */
function takeIn(tensor: TensorProto, files: Map<string, Buffer>, place: string): void {
  const name = entry(tensor, 'location');
  const file = files.get(name)!;
  const offset = Number(entry(tensor, 'offset') || 0);
  const length = Number(entry(tensor, 'length') || file.length - offset);
  if (!(offset >= 0 && length >= 0 && offset + length <= file.length))
    throw new GoodpartsError(
      'backbone-unreadable',
      `${name} is cut off: ${place} expects ${offset + length} bytes in it, and there are ${file.length}.`
    );
  tensor.rawData = file.subarray(offset, offset + length);
  tensor.dataLocation = 0;
  tensor.externalData = [];
}
