import { EventEmitter } from 'node:events';
import path from 'node:path';
import type { NodeAPI, NodeDef, NodeMessage } from 'node-red';
import type {
  Calibration,
  DetectorInfo,
  Device,
  DeviceReport,
  EngineOptions,
  FitMethod,
  FitSettings,
  Precision,
  PresetName
} from '../engine';
import { isBackboneId } from '../engine/catalogue';
import { GoodpartsError } from '../engine/errors';
import { DetectorStore } from '../engine/store';
import { discard, interrupted } from '../engine/train/checkpoint';
import { EngineClient, FitClient, type ClientOptions, type EngineState, type FitHooks } from '../host';
import { Downloads } from './downloads';
import { watchLoop } from './health';
import type { ImageRules } from './images';
import { models } from './live';
import { PartLog } from './part-log';
import { allowedFile, readBounded } from './paths';
import { claim } from './rivals';

/** The fields of the anomaly-model config node, as the editor stores them: numbers may be texts, '' is the default. */
export interface ModelConfig extends NodeDef {
  detector: string;
  method: FitMethod;
  epochs: string | number;
  backbone: string;
  /** blank: none */
  secondBackbone: string;
  secondWeight: string | number;
  /** whether a missing backbone may be downloaded */
  download: boolean;
  layers: string;
  layerWeights: string | number;
  augment: Required<FitSettings>['augment'];
  precision: Precision;
  tile: string | number;
  tileOverlap: string | number;
  align: Required<FitSettings>['align'];
  /** polygons as the editor stores them, JSON: {include, exclude} */
  region: string;
  /** a picture that is laid over each picture: white is inspected */
  maskFile: string;
  preset: PresetName;
  inputWidth: string | number;
  inputHeight: string | number;
  resizeShorter: string | number;
  coresetRatio: string | number;
  bankSize: string | number;
  memoryLimit: string | number;
  neighbours: string | number;
  reweight: '' | 'true' | 'false';
  smoothing: string | number;
  seed: string | number;
  /** path of a detector network; blank: PatchCore */
  network: string;
  networkInput: Required<FitSettings>['networkInput'];
  reconstruction: Required<FitSettings>['reconstruction'];
  device: Device;
  store: string;
  keepVersions: string | number;
  allowedFolders: string;
  maxMegabytes: string | number;
  maxMegapixels: string | number;
  maxSide: string | number;
  maxMemory: string | number;
  timeout: string | number;
  /** whether /anomaly/metrics and /anomaly/health answer */
  metrics?: boolean;
  /** where one line a part goes: blank, `stdout`, or a file */
  log?: string;
  /** the message property that names the part in it */
  partId?: string;
}

/** Versions whose facts are kept in memory; a line that is fitted every day must not collect them all. */
const MOST_INFOS = 32;
/** Seconds that a request may take, unless set, and at the most. */
const TIME_LIMIT = { usual: 60, most: 3600 };
/** A fit without a sign of life for so many time limits hangs, or for so many milliseconds where that is more. */
const SILENCE = { limits: 10, least: 60_000 };

type NumberField = {
  [K in keyof ModelConfig]-?: ModelConfig[K] extends string | number ? K : never;
}[keyof ModelConfig];

const isBlank = (value: unknown) => value === undefined || value === null || String(value).trim() === '';

/** What is not a number stays as it is: the engine refuses it, and says what the setting may be. */
function optionalNumber(config: Partial<ModelConfig>, field: NumberField): number | undefined {
  const value = config[field];
  if (isBlank(value)) return undefined;
  return Number.isFinite(Number(value)) ? Number(value) : (value as number);
}

const positive = (value: unknown, otherwise: number) => (Number(value) > 0 ? Number(value) : otherwise);

/** What is no JSON stays as it is: the engine refuses it, and says what a region is. */
function polygonsOf({ region }: Partial<ModelConfig>): FitSettings['region'] {
  if (isBlank(region)) return undefined;
  try {
    return JSON.parse(region!) as FitSettings['region'];
  } catch {
    return region as never;
  }
}

/** What is left blank stays out, so that the preset decides. The mask is read by `settingsWithMask`. */
export function fitSettings(config: Partial<ModelConfig>): FitSettings {
  const listed = (value: unknown) =>
    String(value ?? '')
      .split(',')
      .flatMap(part => part.trim() || []);
  const layers = listed(config.layers);
  const weights = listed(config.layerWeights).map(part => (Number.isFinite(Number(part)) ? Number(part) : part));
  const settings: FitSettings = {
    method: config.method || undefined,
    epochs: optionalNumber(config, 'epochs'),
    preset: config.preset || undefined,
    backbone: config.backbone || undefined,
    secondBackbone: String(config.secondBackbone ?? '').trim() || undefined,
    secondWeight: optionalNumber(config, 'secondWeight'),
    layers: layers.length > 0 ? layers : undefined,
    layerWeights: weights.length > 0 ? (weights as number[]) : undefined,
    augment: config.augment || undefined,
    precision: config.precision || undefined,
    tile: optionalNumber(config, 'tile'),
    tileOverlap: optionalNumber(config, 'tileOverlap'),
    align: config.align || undefined,
    region: polygonsOf(config),
    inputWidth: optionalNumber(config, 'inputWidth'),
    inputHeight: optionalNumber(config, 'inputHeight'),
    resizeShorter: optionalNumber(config, 'resizeShorter'),
    coresetRatio: optionalNumber(config, 'coresetRatio'),
    bankSize: optionalNumber(config, 'bankSize'),
    memoryLimit: optionalNumber(config, 'memoryLimit'),
    neighbours: optionalNumber(config, 'neighbours'),
    reweight: isBlank(config.reweight) ? undefined : String(config.reweight) === 'true',
    smoothing: optionalNumber(config, 'smoothing'),
    seed: optionalNumber(config, 'seed'),
    network: String(config.network ?? '').trim() || undefined,
    networkInput: config.networkInput || undefined,
    reconstruction: config.reconstruction || undefined
  };
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}

export const userFolder = (RED: NodeAPI): string => path.resolve(RED.settings.userDir ?? process.cwd());

export const storeFolder = (RED: NodeAPI, { store }: Partial<ModelConfig>): string =>
  path.resolve(userFolder(RED), store || 'goodparts');

/** How to reach the engine with these settings; also for settings of the editor that are not deployed. */
export function clientOptions(RED: NodeAPI, config: Partial<ModelConfig>, log: (text: string) => void): ClientOptions {
  const engine: EngineOptions = {
    store: storeFolder(RED, config),
    device: config.device || 'auto',
    limits: {
      maxBytes: positive(config.maxMegabytes, 64) * 2 ** 20,
      maxPixels: positive(config.maxMegapixels, 100) * 1e6,
      maxSide: positive(config.maxSide, 20_000)
    },
    keepVersions: isBlank(config.keepVersions) ? 5 : Math.max(0, Number(config.keepVersions) || 0),
    ...(positive(config.maxMemory, 0) && { maxMemory: Number(config.maxMemory) })
  };
  const timeout = 1000 * Math.min(TIME_LIMIT.most, positive(config.timeout, TIME_LIMIT.usual));
  return { engine, timeout, silence: Math.max(SILENCE.least, SILENCE.limits * timeout), log };
}

function imageRules(RED: NodeAPI, config: Partial<ModelConfig>, { limits }: EngineOptions): ImageRules {
  const base = userFolder(RED);
  const folders = (config.allowedFolders ?? '').split(/\r?\n/).flatMap(line => line.trim() || []);
  return {
    limits: limits as ImageRules['limits'],
    folders: folders.length > 0 ? folders.map(folder => path.resolve(base, folder)) : [base]
  };
}

/**
 * The settings with the mask, which is read anew for each fit and kept with its version.
 * @throws GoodpartsError `path-forbidden`, `path-missing`, `image-too-large`
 */
export async function settingsWithMask(RED: NodeAPI, config: Partial<ModelConfig>): Promise<FitSettings> {
  const settings = fitSettings(config);
  if (isBlank(config.maskFile)) return settings;
  const { limits, folders } = imageRules(RED, config, clientOptions(RED, config, () => {}).engine);
  const mask = await readBounded(await allowedFile(config.maskFile!.trim(), folders), limits.maxBytes);
  return { ...settings, region: { include: [], exclude: [], ...settings.region, mask } };
}

/** A message may name a backbone, but not a file of this machine. @throws GoodpartsError `backbone-missing` */
function idOf(backbone: string): string {
  if (backbone === 'embedded' || isBackboneId(backbone)) return backbone;
  throw new GoodpartsError('backbone-missing', `"${backbone.slice(0, 80)}" is no name of a backbone.`);
}

function openLog(RED: NodeAPI, config: ModelConfig, warn: (text: string) => void): PartLog | undefined {
  const place = (config.log ?? '').trim();
  if (place === '') return undefined;
  const idOf = (msg: NodeMessage): unknown => {
    try {
      return RED.util.getMessageProperty(msg, config.partId || 'partId');
    } catch {
      return undefined;
    }
  };
  return PartLog.open(place === 'stdout' ? place : path.resolve(userFolder(RED), place), idOf, warn);
}

/** What was read of a version. */
interface Facts {
  /** of the file at that time */
  stamp: string;
  info: Promise<DetectorInfo>;
  /** when the file was last looked at, by performance.now() */
  looked: number;
}

/** Another version of a detector is current now. */
export interface Fitted {
  name: string;
  version: string;
}

/**
 * What an anomaly-model node is to the nodes that use it: settings, image rules and the way to the engine.
 * Emits `fitted` (Fitted) when another version became current: a fit made it, or somebody chose it.
 */
export class Model extends EventEmitter {
  readonly detector: string;
  readonly rules: ImageRules;
  readonly client: EngineClient;
  readonly downloads: Downloads;
  /** /anomaly/metrics and /anomaly/health answer while such a model is deployed */
  readonly exposed: boolean;
  /** one line a part, where the settings ask for it */
  readonly partLog?: PartLog;
  /** it was asked for and cannot be written */
  readonly partLogMissing: boolean;
  /** the device of the settings */
  readonly wanted: Device;
  /** what runs the graphs, as far as it is known; asking starts the engine */
  reported?: DeviceReport;
  private readonly options: ClientOptions;
  private readonly store: DetectorStore;
  private readonly ends: (() => void)[];
  private report?: Promise<DeviceReport>;
  private readonly infos = new Map<string, Facts>();

  constructor(
    private readonly RED: NodeAPI,
    private readonly config: ModelConfig,
    log: (text: string) => void
  ) {
    super();
    this.setMaxListeners(0);
    this.detector = config.detector ?? '';
    this.options = clientOptions(RED, config, log);
    this.rules = imageRules(RED, config, this.options.engine);
    this.client = new EngineClient(this.options);
    this.store = new DetectorStore(this.options.engine.store);
    this.downloads = new Downloads(this.options.engine.store, config.download === true);
    this.exposed = config.metrics === true;
    this.wanted = this.options.engine.device!;
    this.ends = [
      this.claim(log),
      this.client.onDevice(report => this.runsOn(report)),
      this.client.onState(state => this.onEngine(state))
    ];
    this.partLog = openLog(RED, config, log);
    this.partLogMissing = !isBlank(config.log) && !this.partLog;
    models.add(this);
    watchLoop();
  }

  /** What runs the graphs; where it is not what was asked for, the reason goes into the log once. */
  device(): Promise<DeviceReport> {
    this.report ??= this.client.device().then(
      device => this.runsOn(device),
      error => {
        this.report = undefined;
        throw error;
      }
    );
    return this.report;
  }

  /** Each process finds its device anew. */
  private onEngine(state: EngineState): void {
    if (state === 'stopped') this.report = this.reported = undefined;
    else if (state === 'ready') this.device().catch(() => {});
  }

  private runsOn(device: DeviceReport): DeviceReport {
    const known = this.reported?.note;
    this.report = Promise.resolve(device);
    this.reported = device;
    if (device.note && device.note !== known) this.options.log(device.note);
    return device;
  }

  /**
   * Opens a fit session in a process of its own.
   * @param backbone id of a backbone in the model's place
   * @throws GoodpartsError `backbone-missing` where the id is none, or the backbone is not there
   */
  async startFit(
    name: string,
    hooks: FitHooks,
    onDownload: (percent: number) => void,
    backbone?: string
  ): Promise<FitClient> {
    const settings = await settingsWithMask(this.RED, this.config);
    if (backbone) settings.backbone = idOf(backbone);
    const start = () => FitClient.start(this.options, name, settings, hooks);
    return this.downloads.during(start, onDownload);
  }

  /**
   * The facts of one version, read once, and again where its file was replaced.
   * @param lately milliseconds within which that need not be noticed
   * @throws GoodpartsError `detector-unknown`, `detector-damaged`
   */
  async info(name: string, version: string, lately = 0): Promise<DetectorInfo> {
    const key = `${name}@${version}`;
    const looked = performance.now();
    const recent = this.infos.get(key);
    if (recent && looked - recent.looked < lately) return recent.info;
    const stamp = await this.store.stamp(name, version);
    const known = this.infos.get(key);
    const info = known?.stamp === stamp ? known.info : this.store.info(name, version);
    this.infos.delete(key);
    this.infos.set(key, { stamp, info, looked });
    const [oldest] = this.infos.keys();
    if (this.infos.size > MOST_INFOS) this.infos.delete(oldest);
    info.catch(() => this.infos.get(key)?.info === info && this.infos.delete(key));
    return info;
  }

  /** Whether a training of the detector was interrupted and can go on. */
  interrupted(name: string): Promise<boolean> {
    return interrupted(this.store.home(name));
  }

  /** Forgets a training that was interrupted. */
  forgetTraining(name: string): Promise<void> {
    return discard(this.store.home(name));
  }

  /** The scores of the good images of one version. @throws as `info` */
  async calibration(name: string, version: string): Promise<Calibration> {
    return (await this.info(name, version)).calibration;
  }

  /** All versions in the store. They are read here and not in the engine process, which need not run for that. */
  list(): Promise<DetectorInfo[]> {
    return this.store.list();
  }

  /** Makes a version the current one. @throws GoodpartsError `detector-unknown` */
  async activate(name: string, version: string): Promise<void> {
    await this.store.activate(name, version);
    this.emit('fitted', { name, version });
  }

  async close(): Promise<void> {
    models.delete(this);
    for (const end of this.ends) end();
    this.downloads.close();
    await this.client.close();
    await this.partLog?.close();
  }

  /** Without a detector of its own a model fits what the messages name, which nobody can compare beforehand. */
  private claim(log: (text: string) => void): () => void {
    const { config, detector, store } = this;
    if (!detector) return () => {};
    const title = config.name || config.id;
    const { maskFile } = config;
    return claim({ title, store: store.folder, detector, settings: fitSettings(config), maskFile }, log);
  }
}
