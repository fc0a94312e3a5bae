import fs from 'node:fs/promises';
import path from 'node:path';
import { checkOperators } from '../backbone';
import { readModel } from '../onnx/file';
import { widen } from '../onnx/precision';
import { decodeModel, type ModelProto, reencodeModel } from '../onnx/proto';
import type { NetworkSource } from '../types';
import { hashAside } from '../version';

export interface NetworkFile {
  /** in float32 */
  model: ModelProto;
  /** the file as it is; where weights lay beside it, they are in it now */
  bytes: Uint8Array;
  source: NetworkSource;
  /** text of the metadata.json beside it */
  beside?: string;
}

/**
 * Reads an .onnx file that is to become a detector, with everything that lies beside it.
 * @throws GoodpartsError `backbone-missing`, `backbone-unreadable`, `backbone-operators`
 */
export async function readNetwork(file: string): Promise<NetworkFile> {
  const place = path.resolve(file);
  const { model, fileSha256, sha256 } = await readModel(place);
  const bytes = sha256 === fileSha256 ? await fs.readFile(place) : reencodeModel(model);
  const source = {
    file: path.basename(place),
    sha256: await hashAside(bytes),
    bytes: bytes.length,
    ...(model.producerName && { producer: model.producerName }),
    metadata: Object.fromEntries((model.metadataProps ?? []).map(({ key, value }) => [key, value]))
  };
  const beside = await fs.readFile(path.join(path.dirname(place), 'metadata.json'), 'utf8').catch(() => undefined);
  return { model: usable(model, file), bytes, source, beside };
}

/** The network of a stored detector. @throws GoodpartsError `backbone-unreadable` */
export const decodeNetwork = (bytes: Uint8Array, name: string): ModelProto => usable(decodeModel(bytes), name);

function usable(model: ModelProto, file: string): ModelProto {
  widen(model);
  checkOperators(model, file);
  return model;
}
