/** The shapes that the engine's public API takes and gives. No Node-RED, no file paths of pictures: bytes in, numbers out. */

/** Uncompressed pixels, row-major, interleaved, 8 bits a channel: `data.length === width * height * channels`. */
export interface RawImage {
  data: Uint8Array;
  width: number;
  height: number;
  /** 1 grey, 3 RGB, 4 RGBA (alpha is composited on black) */
  channels: 1 | 3 | 4;
}

/** An encoded picture (JPEG, PNG, WebP, TIFF, GIF, AVIF) or raw pixels. */
export type ImageInput = Uint8Array | RawImage;

export type PresetName = 'anomalib' | 'pci' | 'anomaly-dino';

/** Numbers in which the backbone computes. `int8` is 1.4 to 2.1 times as fast on a CPU with VNNI and a little coarser. */
export type Precision = 'float32' | 'int8';

/** What runs the graphs. `auto` takes the first of cuda, dml, coreml that works on this machine, else cpu. */
export type Device = 'auto' | 'cpu' | 'cuda' | 'webgpu' | 'dml' | 'coreml';

/** What was asked for and what is really used; `note` says why they differ. */
export interface DeviceReport {
  wanted: Device;
  used: Exclude<Device, 'auto'> | 'wasm';
  note?: string;
}

/** Explicit bounds on one picture. */
export interface ImageLimits {
  /** encoded size, bytes */
  maxBytes: number;
  /** width x height */
  maxPixels: number;
  /** longest side, pixels */
  maxSide: number;
}

/** Corners [x, y] in shares (0..1) of the upright picture's width and height: they hold for any resolution of the camera. */
export type Polygon = [x: number, y: number][];

/** What of the picture is inspected: what lies inside any polygon of `include` (none: everything), in none of `exclude`, and in the mask. */
export interface InspectedRegion {
  include: Polygon[];
  exclude: Polygon[];
  /** a picture, encoded (a text: base64), laid over the whole picture: white is inspected */
  mask?: Uint8Array | string;
}

/** How a detector comes from good parts: kept as a memory bank, or learned by a network that is trained. */
export type FitMethod = 'patchcore' | 'autoencoder' | 'efficientad';

/** How a detector is fitted. Everything is optional; what is missing comes from the preset. */
export interface FitSettings {
  method?: FitMethod;
  /** how often a training goes through the pictures at most; 0: by their number */
  epochs?: number;
  preset?: PresetName;
  /** `embedded` or the path of an .onnx file */
  backbone?: string;
  /**
   * another backbone, named in the same way, that looks at the pictures as well: scores and maps are the mean of what both say, each
   * relative to what is usual for good parts, the one in which these scatter less counting more; its layers are found by themselves. Empty: none
   */
  secondBackbone?: string;
  /** how much the second backbone counts in that mean, where the first one counts 1 */
  secondWeight?: number;
  /** tensor names of the taps, shallow first; empty: catalogue or structure decides */
  layers?: string[];
  /** what each layer's numbers are multiplied with before they are joined, in the order of the layers; empty: all alike */
  layerWeights?: number[];
  /** copies of each good image that are learned as well: mirrored both ways (4 in all), or turned in steps of 45 degrees (8 in all) */
  augment?: 'none' | 'flips' | 'rotations';
  precision?: Precision;
  /**
   * cut pictures into overlapping tiles so many pixels of the picture wide (as high as the network's input asks for), and look at each; as
   * wide as `inputWidth`: at native resolution; 0: look at the whole picture at once
   */
  tile?: number;
  /** share of a tile that its neighbour sees as well, at the least */
  tileOverlap?: number;
  /**
   * `turn`: turn and move the part in each picture to where it lies in the first good one; `crop`: and look at what is around it only, a
   * long part lying along the input's longer side
   */
  align?: 'none' | 'turn' | 'crop';
  /** default: everything is inspected */
  region?: InspectedRegion;
  /** network input, pixels; for `pci` before the crop the shorter side is `resize` */
  inputWidth?: number;
  inputHeight?: number;
  /** resize by the shorter side to this, aspect kept, then centre-crop to inputWidth x inputHeight; 0: plain resize */
  resizeShorter?: number;
  /** share of the patches kept in the bank, 0 < ratio <= 1 */
  coresetRatio?: number;
  /** upper bound of the bank, patches; wins over the ratio where smaller; 0: none */
  bankSize?: number;
  /** memory for what a fit knows of each patch, MB: up to it a bank is chosen from all patches, beyond it from those that differ */
  memoryLimit?: number;
  /** neighbours in the image score's re-weighting */
  neighbours?: number;
  /** re-weight the image score by the neighbourhood of the nearest bank patch */
  reweight?: boolean;
  /** Gaussian sigma of the anomaly map, in network-input pixels; 0: none */
  smoothing?: number;
  /** seed of every random choice: same images, same seed, same bank */
  seed?: number;
  /** path of an .onnx file that is a detector by itself; a fit with it only calibrates. Empty: PatchCore */
  network?: string;
  /** the numbers that such a network takes, of RGB: 0 to 1, -1 to 1, or normalised as ImageNet networks have it; `auto`: found by itself */
  networkInput?: 'auto' | 'unit' | 'signed' | 'imagenet';
  /** how the picture that an autoencoder gives back is compared: mean squared error, or 1 - structural similarity */
  reconstruction?: 'mse' | 'ssim';
}

export interface Size {
  width: number;
  height: number;
}

/** Distribution of a quantity over the good training images, sorted ascending. */
export interface Calibration {
  /**
   * how the scores were got: each image against the bank without its own patches, perturbed copies of a single image, or each image as
   * the network scores it
   */
  method: 'leave-one-out' | 'perturbed' | 'scored';
  /** image scores */
  scores: number[];
  /** the highest value of each image's anomaly map */
  mapMaxima: number[];
  /** median of all map values */
  mapMedian: number;
  /** thresholds that a network brings along, above which it calls a picture or a pixel anomalous */
  own?: { score?: number; map?: number };
}

interface DetectorFacts {
  name: string;
  version: string;
  current: boolean;
  /** ISO 8601 */
  created: string;
  settings: Required<FitSettings>;
  images: number;
  calibration: Calibration;
  /** what it was called where it was fitted, if it came in a bundle */
  imported?: { name: string; version: string };
}

export interface BankFacts {
  bankSize: number;
  /** length of a patch embedding */
  dimensions: number;
  backboneSha256: string;
}

/** A memory bank of the patches of good parts. */
export interface PatchCoreInfo extends DetectorFacts, BankFacts {
  /** absent in what earlier versions of Goodparts saved */
  kind?: 'patchcore';
}

/** What the scores and the maps of a member of an ensemble are multiplied with before they are added; see `scalesOf`. */
export interface Scale {
  score: number;
  map: number;
}

/** Two memory banks of the same good parts, as two backbones see them. */
export interface EnsembleInfo extends DetectorFacts {
  kind: 'ensemble';
  /** of both */
  bankSize: number;
  /** the first and the second backbone's */
  members: (BankFacts & { scale: Scale; selfTest: { score: number } })[];
}

/** By whose conventions an ONNX detector is to be read. */
export type NetworkFormat = 'anomalib' | 'anomalib-1' | 'efficientad' | 'autoencoder';

/** How the network of an ONNX detector is fed and read, as it was recognised when it was calibrated. */
export interface NetworkFacts {
  format: NetworkFormat;
  /** names of its outputs; `picture`: the one that an autoencoder gives back */
  outputs: { score?: string; map?: string; picture?: string };
  /** what it is given, pixels */
  input: Size;
  /** what a picture is resized to before `input` is cut out of its middle */
  resized: Size;
  /** the middle of `input` that its map covers */
  covered: Size;
  /** of RGB / 255 */
  mean: number[];
  std: number[];
  /** of the picture that an autoencoder gives back */
  reconstruction?: 'mse' | 'ssim';
}

/** Where a network came from. */
export interface NetworkSource {
  /** name of the file that it was read from */
  file: string;
  /** of network.onnx in the version: the same file, unless its weights lay beside it */
  sha256: string;
  bytes: number;
  /** what wrote the file, and what the file says of itself, such as its licence */
  producer?: string;
  metadata: Record<string, string>;
}

/** A network that gives scores and maps by itself. */
export interface OnnxInfo extends DetectorFacts {
  kind: 'onnx';
  network: NetworkFacts & { source: NetworkSource };
}

/** What is known of a version; `kind` says what it consists of, and so how it is loaded. */
export type DetectorInfo = PatchCoreInfo | EnsembleInfo | OnnxInfo;
export type DetectorKind = NonNullable<DetectorInfo['kind']>;

export interface Region {
  /** box in pixels of the original image */
  x: number;
  y: number;
  width: number;
  height: number;
  /** the highest map value inside */
  score: number;
  /** pixels of the original image */
  area: number;
}

/** Anomaly map in the original image's geometry; `data` holds float32, little-endian, row-major; NaN was not inspected (beside a crop, outside of the region). */
export interface AnomalyMap {
  data: Buffer;
  width: number;
  height: number;
  /** what is normal: the median of the good images' maps, and the pixel threshold of this detector; ties a colour scale to it */
  normal: number;
  threshold: number;
}

/** Which product a picture shows, told by how near the detectors of all products are to it. */
export interface Product {
  /** a detector's name; null: none is near */
  name: string | null;
  /** 0 to 1, that of `name`: with those of all other detectors and of "none of them" it makes 1 */
  confidence: number;
  /** how far the picture is from the nearest detector, its own good parts being at 1 or less */
  distance: number;
}

/** How a part lies against the reference. */
export interface Alignment {
  /** degrees that it is turned by, clockwise, above -180 and up to 180 */
  angle: number;
  /** how far its middle is shifted, pixels of the picture */
  dx: number;
  dy: number;
  /** how well it agrees with the reference when it is turned back, up to 1; 0: no part was found */
  match: number;
}

export interface ScoreResult {
  score: number;
  detector: { name: string; version: string };
  image: { width: number; height: number };
  regions: Region[];
  /** share (0..1) of the inspected area whose map value is above the pixel threshold */
  damage: number;
  /** with the setting `align` */
  alignment?: Alignment;
  /** what whoever reads the score has to know, as a sentence */
  note?: string;
  /** milliseconds */
  timing: Record<'decode' | 'preprocess' | 'backbone' | 'search' | 'map' | 'total', number>;
  /** where the nearest detector was asked for */
  product?: Product;
  map?: AnomalyMap;
}

export type FitStage = 'images' | 'coreset' | 'training' | 'calibration' | 'save';

/** How far a training is. */
export interface TrainingProgress {
  /** epochs that are done, and at most */
  epoch: number;
  epochs: number;
  /** of all steps, 0..1 */
  share: number;
  paused: boolean;
  /** of each epoch: the mean loss of its steps, and the loss of the good images that are held out */
  curve: { loss: number; heldOut: number }[];
  /** the epoch, counted from 1, whose weights are taken: the one with the smallest held-out loss; 0 before the first */
  best: number;
  /** it ended before its last epoch, as nothing got better any more */
  stoppedEarly?: boolean;
}

export interface FitProgress {
  stage: FitStage;
  done: number;
  total: number;
  /** of the stage `training` */
  training?: TrainingProgress;
}

export interface FitResult {
  name: string;
  version: string;
  images: number;
  /** 0, as the bank and its radius, where a network was calibrated */
  patches: number;
  bankSize: number;
  /** covering radius: no patch that was learned is farther from its nearest bank patch */
  radius: number;
  calibration: Calibration;
  device: DeviceReport;
  /** what was done otherwise than asked for, as a sentence */
  note?: string;
  /** milliseconds */
  timing: { images: number; coreset: number; calibration: number; save: number; total: number; training?: number };
  /** how a training went */
  training?: TrainingProgress;
}

/** A fit that somebody thinks of: how many pictures, and what they are like (default: 1024 x 1024 pixels). */
export interface PlanRequest {
  images: number;
  /** a drawn picture of this size stands in, or one of those that are meant, encoded */
  picture?: { width: number; height: number } | Uint8Array;
}

/** What a fit will take, and its detector. MB are 2^20 bytes. */
export interface FitPlan {
  images: number;
  /** of all images; as many as images where pictures are not cut */
  tiles: number;
  /** of all images and their copies; with a second backbone, of both, as the bank */
  patches: number;
  /** length of a patch embedding, of the first backbone */
  dimensions: number;
  bankSize: number;
  /** what the network is given, pixels */
  input: { width: number; height: number };
  device: DeviceReport;
  fitSeconds: { images: number; coreset: number; calibration: number; save: number; total: number; training?: number };
  /** peak of the fit's process */
  peakMemoryMb: number;
  /** on the store's disk while fitting, the new version included */
  diskMb: number;
  detectorMb: number;
  /** one picture, file to map and regions */
  scoreMs: number;
  /** why the fit would be refused, and what would fit */
  refusal?: string;
}
