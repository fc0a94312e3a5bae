import type { Lease } from './cache';
import { AlignedInspector, alignerOf, aligns } from './align';
import { LoadedDetector, type Detector, type Inspect, type Inspector, type LoadParts } from './detector';
import { GoodpartsError } from './errors';
import type { Embeddings, Extractor, Prepared } from './features';
import { MapHead, createSearch, type SearchHead } from './head';
import type { RangeArray } from './ranges';
import { emptyRegion, inspectedRows, Inspection } from './region';
import { checkSelfTest } from './selftest';
import { once, type Shared } from './shared';
import type { Runtime } from './runtime';
import { TiledInspector } from './tiles';
import type { BankFacts, DetectorInfo, FitSettings } from './types';
import type { Arrays, Stored } from './version';

/** What is known of a memory bank before it is opened. */
type Bank = Pick<Stored<'patchcore'>, keyof BankFacts | 'name' | 'version' | 'settings' | 'selfTest'>;

/** Patches of a picture, each with the distance to its nearest neighbour in the memory bank. */
class PatchCoreInspector implements Inspector<Prepared> {
  constructor(
    private readonly settings: Required<FitSettings>,
    private readonly extractor: Lease<Extractor>,
    private readonly search: SearchHead,
    private readonly map: MapHead,
    private readonly inspection?: Inspection
  ) {}

  prepare(picture: Parameters<Extractor['prepare']>[0], shared?: Shared): Promise<Prepared> {
    const extractor = this.extractor.value;
    return once(shared, picture, extractor, () => extractor.prepare(picture));
  }

  async begin(prepared: Prepared[], shared?: Shared): Promise<Inspect[]> {
    const extractor = this.extractor.value;
    const inputs = prepared.map(p => p.input);
    // several pictures are one run of the network, so only a single one has embeddings of its own to share
    const alone = inputs.length === 1 ? shared : undefined;
    const embeddings = await once(alone, inputs[0], extractor, () => extractor.embed(inputs));
    return prepared.map((p, i) => full => this.finish(p, embeddings, i, full));
  }

  private async finish(p: Prepared, embeddings: Embeddings, index: number, full: boolean): ReturnType<Inspect> {
    const start = performance.now();
    const inside = this.inspection?.inside(p, this.extractor.value.size, embeddings);
    if (inside?.patches.length === 0) throw emptyRegion(p);
    const patches = inspectedRows(embeddings.patches[index], embeddings.dimensions, inside);
    const { distances, score } = await this.search.search(patches);
    const search = performance.now() - start;
    const map = await this.map.inOriginal(distances, embeddings, this.settings, p.window, p, full, inside);
    return { score, map, timing: { search } };
  }

  async release(): Promise<void> {
    this.extractor.release();
    await Promise.all([this.search.release(), this.map.release()]);
  }
}

/** A memory bank with its backbone on a device, its self-test passed. */
export interface OpenBank {
  whole: Inspector<Prepared>;
  /** where pictures are cut into tiles: it is used in the place of the other, and released like it */
  tiled?: Inspector;
  parity: number;
}

/** @param extractor is given back where this fails, and what was loaded with it. @throws GoodpartsError `detector-backbone`, `detector-parity` */
export async function openBank(
  runtime: Runtime,
  extractor: Lease<Extractor>,
  { name, version, settings, dimensions, backboneSha256, selfTest }: Bank,
  arrays: Arrays
): Promise<OpenBank> {
  const opened: { release(): unknown }[] = [extractor];
  try {
    if (extractor.value.backbone.sha256 !== backboneSha256)
      throw new GoodpartsError(
        'detector-backbone',
        `The backbone ${settings.backbone} is not the file that "${name}" ${version} was fitted with; restore it, or fit again.`
      );
    const search = await createSearch(runtime, arrays.bank.data as Float32Array, dimensions, settings, arrays);
    opened.push(search);
    const map = await MapHead.create(runtime);
    opened.push(map);
    const inspection = await Inspection.create(settings.region);
    const parts = { extractor: extractor.value, search, map, settings, inspection };
    const parity = await checkSelfTest(parts, arrays, selfTest.score, runtime.device.used);
    const whole = new PatchCoreInspector(settings, extractor, search, map, inspection);
    return { whole, tiled: settings.tile ? new TiledInspector(parts, () => whole.release()) : undefined, parity };
  } catch (error) {
    await Promise.all(opened.map(part => part.release()));
    throw error;
  }
}

/** The detector that looks with an inspector, at parts turned to the reference where they are aligned. */
export function loadedDetector<Input extends { width: number; height: number }>(
  info: DetectorInfo,
  inspector: Inspector<Input>,
  parity: number,
  arrays: Arrays
): Detector {
  const { settings, calibration } = info;
  if (!aligns(settings)) return new LoadedDetector(info, inspector, parity);
  const aligner = alignerOf(arrays, settings);
  return new LoadedDetector(info, new AlignedInspector(inspector, aligner, calibration), parity);
}

/**
 * Loads a version with a memory bank and repeats its self-test.
 * @throws GoodpartsError `detector-damaged`, `detector-backbone`, `detector-parity`
 */
export async function loadPatchCore(
  { runtime, store, extractorFor }: LoadParts,
  stored: Stored<'patchcore'>
): Promise<Detector> {
  const { name, version, settings } = stored;
  // side by side: the bank is read and hashed in other threads while the backbone is loaded in this one
  const reading = store.read(name, version);
  reading.catch(() => {});
  const ranges = settings.precision === 'int8' ? ((await reading).arrays.ranges as RangeArray) : undefined;
  const extractor = await extractorFor(settings, ranges);
  const { info, arrays } = await reading.catch((error: unknown) => {
    extractor.release();
    throw error;
  });
  const { whole, tiled, parity } = await openBank(runtime, extractor, stored, arrays);
  return tiled ? loadedDetector(info, tiled, parity, arrays) : loadedDetector(info, whole, parity, arrays);
}
