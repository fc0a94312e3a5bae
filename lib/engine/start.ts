import type { Lease } from './cache';
import type { FitOptions, FitSession } from './contracts';
import type { LoadParts } from './detector';
import { memberSettings } from './ensemble';
import { GoodpartsError } from './errors';
import type { Extractor } from './features';
import { PatchCoreFit } from './fit';
import { Int8Fit } from './int8';
import { memoryCheck, type MemoryCheck } from './memory';
import type { Inspection } from './region';
import type { Runtime } from './runtime';
import type { DetectorStore } from './store';
import type { FitSettings, ImageLimits } from './types';

/** Where a fit is to run, and with what. */
export interface FitPlace {
  settings: Required<FitSettings>;
  runtime: Runtime;
  /** MB that the process may take */
  maxMemory?: number;
  extractorFor: LoadParts['extractorFor'];
}

export interface FitStart extends FitPlace {
  name: string;
  store: DetectorStore;
  limits: Partial<ImageLimits>;
  options: FitOptions;
}

interface PatchCoreStart extends FitStart {
  /** the settings before they were completed */
  given: FitSettings;
  inspection?: Inspection;
}

/**
 * Opens a fit that makes a memory bank.
 * @throws GoodpartsError `fit-memory`, `fit-precision`, `backbone-*`, `store-write`
 */
export async function startPatchCore(start: PatchCoreStart): Promise<FitSession> {
  const { name, given, settings, inspection, runtime, store, limits, options, maxMemory, extractorFor } = start;
  const leases = await extractorsOf(settings, extractorFor);
  const [{ value: first }] = leases;
  const { width: inputWidth, height: inputHeight } = first.size;
  let note: string | undefined;
  let checkMemory: MemoryCheck;
  try {
    note = otherSize(given, settings, first);
    await store.checkWritable(name);
    const extractors = leases.map(lease => lease.value);
    checkMemory = await memoryCheck(extractors, settings, maxMemory, options.images, inspection);
    checkMemory(0, 0);
  } catch (error) {
    leases.forEach(lease => lease.release());
    throw error;
  }
  const open = (used: Lease<Extractor>[], fitOptions: FitOptions): FitSession => {
    const parts = { name, runtime, inspection, store, limits, checkMemory, options: fitOptions };
    const extractors = used.map(lease => lease.value);
    const fit = new PatchCoreFit({ ...parts, extractors, settings: { ...settings, inputWidth, inputHeight } });
    return leased(fit, () => used.forEach(lease => lease.release()), note);
  };
  if (settings.precision === 'float32') return open(leases, options);
  return Int8Fit.create({
    ...{ runtime, settings, limits, options },
    exact: leases[0],
    quantized: ranges => extractorFor(settings, ranges),
    open: (lease, fitOptions) => open([lease], fitOptions)
  });
}

/**
 * Those of the backbones of a fit, one or two.
 * @throws GoodpartsError `backbone-size` where the second one cannot take pictures of the size that the first one takes
 */
export async function extractorsOf(
  settings: Required<FitSettings>,
  extractorFor: FitPlace['extractorFor']
): Promise<Lease<Extractor>[]> {
  const first = await extractorFor(settings);
  const { width, height } = first.value.size;
  const [, own] = memberSettings({ ...settings, inputWidth: width, inputHeight: height });
  if (!own) return [first];
  const second = await extractorFor(own).catch((error: unknown) => {
    first.release();
    throw error;
  });
  const { size } = second.value;
  if (size.width === width && size.height === height) return [first, second];
  [first, second].forEach(lease => lease.release());
  throw new GoodpartsError(
    'backbone-size',
    `Two backbones look at pictures of one size, but ${settings.backbone} takes ${width} x ${height} pixels and ${own.backbone} ` +
      `${size.width} x ${size.height}. Set the input size to ${size.width} x ${size.height}, or choose another second backbone.`
  );
}

/**
 * What to say where the backbone takes another picture size than was asked for.
 * @throws GoodpartsError `backbone-size` where its only size is not the one that was given
 */
function otherSize(
  given: FitSettings,
  wanted: Required<FitSettings>,
  { size, backbone }: Extractor
): string | undefined {
  const { inputWidth, inputHeight } = wanted;
  if (size.width === inputWidth && size.height === inputHeight) return undefined;
  const only = `${wanted.backbone} takes pictures of ${size.width} x ${size.height} pixels only`;
  const asked = given.inputWidth !== undefined || given.inputHeight !== undefined;
  if (backbone.size && asked) throw new GoodpartsError('backbone-size', `${only}; set the input size to that.`);
  const why = backbone.size ? only : `${wanted.backbone} takes multiples of ${backbone.multiple} pixels`;
  return `${why}: ${size.width} x ${size.height} is used instead of ${inputWidth} x ${inputHeight}.`;
}

/** The fit, which gives back what it was lent when it ends, and says what is to be noted. */
function leased(fit: PatchCoreFit, release: () => void, note?: string): FitSession {
  return {
    get images() {
      return fit.images;
    },
    add: image => fit.add(image),
    finish: () =>
      fit
        .finish()
        .then(result => ({ ...result, ...(note && { note }) }))
        .finally(release),
    abort: () => {
      fit.abort();
      release();
    }
  };
}
