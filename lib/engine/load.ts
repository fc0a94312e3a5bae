import type { Detector, LoadParts } from './detector';
import { loadEnsemble } from './ensemble-inspector';
import { GoodpartsError } from './errors';
import { loadOnnx } from './network/inspector';
import { loadPatchCore } from './patchcore';
import type { DetectorKind } from './types';
import { kindOf, type Stored } from './version';

/** How a version of each kind is loaded. */
const LOADERS: { [K in DetectorKind]: (parts: LoadParts, info: Stored<K>) => Promise<Detector> } = {
  patchcore: loadPatchCore,
  ensemble: loadEnsemble,
  onnx: loadOnnx
};

/**
 * Reads and checks a version, loads it and repeats its self-test. Its kind stands in detector.json.
 * @throws GoodpartsError `detector-unknown`, `detector-damaged`, `detector-kind`, `detector-backbone`, `detector-parity`
 */
export async function loadDetector(parts: LoadParts, name: string, version: string): Promise<Detector> {
  const info = await parts.store.info(name, version);
  const kind = kindOf(info);
  if (!Object.hasOwn(LOADERS, kind))
    throw new GoodpartsError(
      'detector-kind',
      `Detector "${name}" ${version} is of the kind "${kind}", which this version of Goodparts does not know; update the package.`
    );
  const load = LOADERS[kind] as (parts: LoadParts, info: Stored) => Promise<Detector>;
  return load(parts, info);
}
