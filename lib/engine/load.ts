import type { Detector, LoadParts } from './detector';
import { loadEnsemble } from './ensemble-inspector';
import { GoodpartsError } from './errors';
import { loadOnnx } from './network/inspector';
import { loadPatchCore } from './patchcore';
import type { Runtime } from './runtime';
import type { DetectorKind } from './types';
import { kindOf, type Stored } from './version';

/** How a version of each kind is loaded. */
const LOADERS: { [K in DetectorKind]: (parts: LoadParts, info: Stored<K>) => Promise<Detector> } = {
  patchcore: loadPatchCore,
  ensemble: loadEnsemble,
  onnx: loadOnnx
};

/**
 * Loads a version on a runtime's device, or on the processor where its self-test says that the device computes something else; the
 * device is then given up.
 * @param on the parts that load it on one runtime
 * @throws GoodpartsError as `loadDetector`
 */
export async function loadWhereItHolds(
  runtime: Runtime,
  on: (runtime: Runtime) => LoadParts,
  name: string,
  version: string
): Promise<Detector> {
  // asked for before: another detector may have given the device up by the time this one fails
  const processor = runtime.onProcessor();
  try {
    return await loadDetector(on(runtime), name, version);
  } catch (error) {
    if (!processor || !(error instanceof GoodpartsError) || error.code !== 'detector-parity') throw error;
    const detector = await loadDetector(on(processor), name, version);
    runtime.leaveDevice(`the self-test of "${name}" ${version} gives other results there`);
    return detector;
  }
}

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
