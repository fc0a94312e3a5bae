import { GoodpartsError } from './errors';
import { isRestricted, regionProblem } from './polygons';
import type { FitMethod, FitSettings, Precision, PresetName } from './types';

/** What a preset fixes beyond the settings that a user may change; constants as published, see docs/architecture.md. */
export type Embedding = 'concat' | 'unit' | number;

export interface Preset {
  settings: Required<FitSettings>;
  /**
   * patch embedding: concatenated pooled layers, or each layer's 3x3 neighbourhood averaged to `embedding` numbers, or a transformer's
   * tokens at unit length
   */
  embedding: Embedding;
  /** of a patch: true L2, squared L2 (faiss), or 1 - cosine, which for vectors of unit length is half the squared L2 */
  distance: 'l2' | 'squared' | 'cosine';
  /** of an image: the largest patch distance (which the setting `reweight` weighs), or the mean of this share of the largest, one at least */
  score: 'max' | { top: number };
  /** resize rounds to whole grey levels between its two passes, as Pillow does */
  pillow: boolean;
  interpolation: 'linear' | 'cubic';
  /** anomaly map: how the patch grid is enlarged, and how the blur treats edges */
  enlarge: 'nearest' | 'bilinear';
  edges: 'reflect' | 'mirror';
  /** coreset: one random patch is taken first, or distances start as the mean to this many random patches */
  anchors: number;
}

const shared = {
  method: 'patchcore' as const,
  epochs: 0,
  backbone: 'embedded',
  secondBackbone: '',
  secondWeight: 1,
  layers: [],
  layerWeights: [],
  augment: 'none' as const,
  precision: 'float32' as const,
  tile: 0,
  tileOverlap: 0.25,
  align: 'none' as const,
  region: { include: [], exclude: [] },
  coresetRatio: 0.1,
  bankSize: 0,
  memoryLimit: 256,
  neighbours: 9,
  smoothing: 4,
  seed: 0,
  network: '',
  networkInput: 'auto' as const,
  reconstruction: 'mse' as const
};

export const PRESETS: Record<PresetName, Preset> = {
  // anomalib 2.x: Patchcore, coreset k-center greedy over SparseRandomProjection(eps=0.9)
  anomalib: {
    settings: { ...shared, preset: 'anomalib', inputWidth: 256, inputHeight: 256, resizeShorter: 0, reweight: true },
    embedding: 'concat',
    distance: 'l2',
    score: 'max',
    pillow: false,
    interpolation: 'linear',
    enlarge: 'nearest',
    edges: 'reflect',
    anchors: 0
  },
  // amazon-science/patchcore-inspection, ApproximateGreedyCoresetSampler
  pci: {
    settings: { ...shared, preset: 'pci', inputWidth: 224, inputHeight: 224, resizeShorter: 256, reweight: false },
    embedding: 1024,
    distance: 'squared',
    score: 'max',
    pillow: true,
    interpolation: 'linear',
    enlarge: 'bilinear',
    edges: 'mirror',
    anchors: 10
  },
  // anomalib 2.x: AnomalyDINO without masking; every patch is kept
  'anomaly-dino': {
    settings: {
      ...shared,
      preset: 'anomaly-dino',
      inputWidth: 252,
      inputHeight: 252,
      resizeShorter: 0,
      coresetRatio: 1,
      reweight: false
    },
    embedding: 'unit',
    distance: 'cosine',
    score: { top: 0.01 },
    pillow: false,
    interpolation: 'cubic',
    enlarge: 'nearest',
    edges: 'reflect',
    anchors: 0
  }
};

const AUGMENTS: FitSettings['augment'][] = ['none', 'flips', 'rotations'];
export const ALIGNS: Required<FitSettings>['align'][] = ['none', 'turn', 'crop'];
export const METHODS: FitMethod[] = ['patchcore', 'autoencoder', 'efficientad'];
export const PRECISIONS: Precision[] = ['float32', 'int8'];
export const NETWORK_INPUTS: Required<FitSettings>['networkInput'][] = ['auto', 'unit', 'signed', 'imagenet'];
export const RECONSTRUCTIONS: Required<FitSettings>['reconstruction'][] = ['mse', 'ssim'];

type Rule = [key: keyof FitSettings, ok: (n: number) => boolean, says: string];
const whole = Number.isInteger;
const RULES: Rule[] = [
  ['inputWidth', n => whole(n) && n >= 32 && n <= 4096, 'a whole number of pixels from 32 to 4096'],
  ['inputHeight', n => whole(n) && n >= 32 && n <= 4096, 'a whole number of pixels from 32 to 4096'],
  [
    'resizeShorter',
    n => whole(n) && (n === 0 || (n >= 32 && n <= 4096)),
    '0 (off) or a whole number of pixels from 32 to 4096'
  ],
  [
    'tile',
    n => whole(n) && (n === 0 || (n >= 32 && n <= 20000)),
    '0 (off) or a whole number of pixels from 32 to 20000'
  ],
  ['secondWeight', n => n > 0 && n <= 1000, 'a number above 0 and up to 1000; 1 is as much as the first backbone'],
  ['tileOverlap', n => n >= 0.1 && n <= 0.75, 'a share from 0.1 to 0.75'],
  ['coresetRatio', n => n > 0 && n <= 1, 'a share above 0 and up to 1'],
  ['bankSize', n => whole(n) && n >= 0, 'a whole number of patches, 0 for no bound'],
  ['memoryLimit', n => whole(n) && n >= 1 && n <= 65536, 'a whole number of MB from 1 to 65536'],
  ['neighbours', n => whole(n) && n >= 1 && n <= 1000, 'a whole number from 1 to 1000'],
  ['smoothing', n => n >= 0 && n <= 100, 'a number of pixels from 0 to 100'],
  ['epochs', n => whole(n) && n >= 0 && n <= 100000, 'a whole number of epochs, 0 for as many as the pictures need'],
  ['seed', n => whole(n) && n >= 0 && n < 2 ** 32, 'a whole number from 0 to 4294967295']
];

/**
 * Fills in the preset's values and checks what was given.
 * @throws GoodpartsError `fit-settings` naming the setting, what it was and what it may be
 */
export function completeSettings(given: FitSettings = {}): Required<FitSettings> {
  const name = given.preset ?? 'anomalib';
  if (!Object.hasOwn(PRESETS, name))
    throw new GoodpartsError(
      'fit-settings',
      `There is no preset "${name}"; choose ${Object.keys(PRESETS).join(', ')}.`
    );
  const present = Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined));
  const settings: Required<FitSettings> = { ...PRESETS[name].settings, ...present };
  // tiles are cut from the picture as it is, and nothing of them is cropped away
  if (settings.tile && given.resizeShorter === undefined) settings.resizeShorter = 0;
  const refuse = (key: string, says: string, value: unknown): never => {
    throw new GoodpartsError('fit-settings', `The setting ${key} must be ${says}; it is ${JSON.stringify(value)}.`);
  };
  for (const [key, ok, says] of RULES)
    if (typeof settings[key] !== 'number' || !ok(settings[key] as number)) refuse(key, says, settings[key]);
  const { resizeShorter, inputWidth, inputHeight, layerWeights, augment } = settings;
  if (!layerWeights.every(w => typeof w === 'number' && w > 0 && w <= 1000))
    refuse('layerWeights', 'a list of numbers above 0 and up to 1000, one a layer', layerWeights);
  if (!METHODS.includes(settings.method)) refuse('method', METHODS.join(', '), settings.method);
  if (!AUGMENTS.includes(augment)) refuse('augment', AUGMENTS.join(', '), augment);
  if (!ALIGNS.includes(settings.align)) refuse('align', ALIGNS.join(', '), settings.align);
  if (!PRECISIONS.includes(settings.precision)) refuse('precision', PRECISIONS.join(' or '), settings.precision);
  const ofItsOwn = settings.network || settings.method !== 'patchcore';
  if (ofItsOwn && (settings.tile || settings.align !== 'none'))
    throw new GoodpartsError(
      'fit-settings',
      'An exported or trained network takes pictures whole and as they lie: set tile to 0 and align to none.'
    );
  const problem = regionProblem(settings.region);
  if (problem) throw new GoodpartsError('fit-settings', `The setting region must be ${problem}.`);
  if ((settings.tile || settings.align === 'crop') && isRestricted(settings.region))
    throw new GoodpartsError(
      'fit-settings',
      'A region does not go with tiles, nor with pictures that are cropped to the part: remove the region, or set tile to 0 and align to turn or none.'
    );
  if (settings.tile && resizeShorter)
    throw new GoodpartsError(
      'fit-settings',
      'Tiles and a crop of the middle (resizeShorter) do not go together: set resizeShorter to 0, or tile to 0.'
    );
  const { networkInput, reconstruction } = settings;
  if (!NETWORK_INPUTS.includes(networkInput)) refuse('networkInput', NETWORK_INPUTS.join(', '), networkInput);
  if (!RECONSTRUCTIONS.includes(reconstruction)) refuse('reconstruction', RECONSTRUCTIONS.join(' or '), reconstruction);
  if (ofItsOwn && isRestricted(settings.region))
    throw new GoodpartsError(
      'fit-settings',
      'An exported or trained network inspects the whole picture: take the polygons and the mask of the region out of the settings.'
    );
  const { secondBackbone } = settings;
  if (typeof secondBackbone !== 'string') refuse('secondBackbone', 'an id, a path, or empty', secondBackbone);
  if (secondBackbone && (ofItsOwn || settings.precision === 'int8'))
    throw new GoodpartsError(
      'fit-settings',
      'A second backbone goes neither with int8 nor with an exported or trained network: leave it empty, or set the precision to float32 and the method to patchcore without a network.'
    );
  if (secondBackbone && secondBackbone === settings.backbone && !settings.layers.length)
    throw new GoodpartsError(
      'fit-settings',
      'The second backbone is the first one again and would say the same: choose another one, or leave it empty.'
    );
  if (resizeShorter && resizeShorter < Math.max(inputWidth, inputHeight))
    throw new GoodpartsError(
      'fit-settings',
      `The crop ${inputWidth} x ${inputHeight} does not fit into a picture resized to ${resizeShorter} by its shorter side.`
    );
  return settings;
}
