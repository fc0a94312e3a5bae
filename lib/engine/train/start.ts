import type { FitSession } from '../contracts';
import { GoodpartsError } from '../errors';
import type { Extractor } from '../features';
import { memoryRoom } from '../memory';
import { NetworkFit } from '../network/fit';
import type { FitStart } from '../start';
import type { FitSettings } from '../types';
import { Checkpoint, type Saved } from './checkpoint';
import { TrainingFit, trainingSize } from './fit';

/** Good pictures that score below an autoencoder's own threshold, percent: what the autoencoders in use take. */
const AUTOENCODER_PERCENTILE = 95;
/** What a step takes for each pixel of the network's input, bytes; measured at 256 x 256. */
const BYTES_A_PIXEL = { autoencoder: 10_000, efficientad: 9_000 };

/**
 * Opens a fit that trains a network, or one that goes on with a training that was interrupted.
 * @throws GoodpartsError `fit-settings`, `fit-memory`, `fit-no-images`, `backbone-*`, `detector-backbone`, `store-write`
 */
export async function startTraining(start: FitStart): Promise<FitSession> {
  const { name, store, options, runtime, limits } = start;
  await store.checkWritable(name);
  const home = store.home(name);
  const resumed = options.resume ? await Checkpoint.resume(home) : undefined;
  if (options.resume && !resumed)
    throw new GoodpartsError(
      'fit-no-images',
      `There is no interrupted training of "${name}": send images of good parts.`
    );
  const settings = resumed?.saved.settings ?? withSize(start.settings);
  const refused = refusedFor(memoryOf(settings), memoryRoom(start.maxMemory));
  if (refused) throw refused;
  const extractor = settings.method === 'efficientad' ? await start.extractorFor(settings) : undefined;
  try {
    if (extractor) checkTeacher(extractor.value, settings, resumed?.saved);
    return await TrainingFit.open({
      ...{ name, settings, runtime, extractor, limits, options },
      checkpoint: resumed?.checkpoint ?? (await Checkpoint.begin(home)),
      saved: resumed?.saved,
      calibrate: network => calibrationOf(start, settings, network)
    });
  } catch (error) {
    extractor?.release();
    throw error;
  }
}

/** The trained network goes the way of any detector network: good pictures say what its numbers are for good parts. */
function calibrationOf(
  { name, runtime, store }: FitStart,
  settings: Required<FitSettings>,
  network: string
): Promise<FitSession> {
  // what makes a network out of pictures stays in the detector's settings; the file itself goes into the version
  const { networkInput, reconstruction, inputWidth, inputHeight } = settings;
  const given = { network, networkInput, reconstruction, inputWidth, inputHeight };
  const own = settings.method === 'autoencoder' ? { ownPercentile: AUTOENCODER_PERCENTILE } : {};
  return NetworkFit.create({
    name,
    settings: given,
    complete: settings,
    runtime,
    store,
    limits: {},
    options: {},
    ...own
  });
}

export function withSize(settings: Required<FitSettings>): Required<FitSettings> {
  const { width, height } = trainingSize(settings);
  // a detector network sees whole pictures: there is no crop
  return { ...settings, inputWidth: width, inputHeight: height, resizeShorter: 0 };
}

export function checkTeacher({ size, backbone }: Extractor, settings: Required<FitSettings>, saved?: Saved): void {
  const { inputWidth: width, inputHeight: height } = settings;
  if (saved && saved.backboneSha256 !== backbone.sha256)
    throw new GoodpartsError(
      'detector-backbone',
      `The backbone ${settings.backbone} is not the file that this training began with; restore it, or send msg.reset and the images again.`
    );
  if (size.width === width && size.height === height) return;
  throw new GoodpartsError(
    'backbone-size',
    `As a teacher ${settings.backbone} would take ${size.width} x ${size.height} pixels, and the student ${width} x ${height}: set the ` +
      'input size to one that suits both, a multiple of 32 pixels (for vision transformers with patches of 14 pixels: 224 or 448).'
  );
}

/** MB that the process of a training takes. */
export function memoryOf({ method, inputWidth, inputHeight }: Required<FitSettings>): number {
  const step = method === 'patchcore' ? 0 : BYTES_A_PIXEL[method] * inputWidth * inputHeight;
  return Math.ceil((process.memoryUsage().rss + step) / 2 ** 20);
}

/** Why a training that needs so much is refused where there is only so much room, both in MB. */
export function refusedFor(need: number, room: number): GoodpartsError | undefined {
  if (need <= room) return undefined;
  return new GoodpartsError(
    'fit-memory',
    `This training would need ${need} MB of memory, and ${room} MB is the most that it may take: take a smaller input size, or free memory.`,
    { needed: need, room }
  );
}
