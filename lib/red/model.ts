import { EventEmitter } from 'node:events';
import path from 'node:path';
import type { NodeAPI, NodeDef } from 'node-red';
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
import { DetectorStore } from '../engine/store';
import { discard, interrupted } from '../engine/train/checkpoint';
import { EngineClient, FitClient, type ClientOptions, type FitHooks } from '../host';
import { Downloads } from './downloads';
import type { ImageRules } from './images';
import { claim } from './rivals';

/** The fields of the anomaly-model config node, as the editor stores them: numbers may be texts, '' is the default. */
export interface ModelConfig extends NodeDef {
  detector: string;
  method: FitMethod;
  epochs: string | number;
  backbone: string;
  /** whether a missing backbone may be downloaded */
  download: boolean;
  layers: string;
  layerWeights: string | number;
  augment: Required<FitSettings>['augment'];
  precision: Precision;
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
}

/** Versions whose good scores are kept in memory; a line that is fitted every day must not collect them all. */
const MOST_CALIBRATIONS = 32;

type NumberField = { [K in keyof ModelConfig]: ModelConfig[K] extends string | number ? K : never }[keyof ModelConfig];

const isBlank = (value: unknown) => value === undefined || value === null || String(value).trim() === '';

/** What is not a number stays as it is: the engine refuses it, and says what the setting may be. */
function optionalNumber(config: Partial<ModelConfig>, field: NumberField): number | undefined {
  const value = config[field];
  if (isBlank(value)) return undefined;
  return Number.isFinite(Number(value)) ? Number(value) : (value as number);
}

const positive = (value: unknown, otherwise: number) => (Number(value) > 0 ? Number(value) : otherwise);

/** What is left blank stays out, so that the preset decides. */
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
    layers: layers.length > 0 ? layers : undefined,
    layerWeights: weights.length > 0 ? (weights as number[]) : undefined,
    augment: config.augment || undefined,
    precision: config.precision || undefined,
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
  return { engine, timeout: positive(config.timeout, 60) * 1000, log };
}

function imageRules(RED: NodeAPI, config: ModelConfig, { limits }: EngineOptions): ImageRules {
  const base = userFolder(RED);
  const folders = (config.allowedFolders ?? '').split(/\r?\n/).flatMap(line => line.trim() || []);
  return {
    limits: limits as ImageRules['limits'],
    folders: folders.length > 0 ? folders.map(folder => path.resolve(base, folder)) : [base]
  };
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
  private readonly options: ClientOptions;
  private readonly store: DetectorStore;
  private readonly endClaim: () => void;
  private report?: Promise<DeviceReport>;
  private readonly calibrations = new Map<string, Promise<Calibration>>();

  constructor(
    RED: NodeAPI,
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
    this.endClaim = this.claim(log);
  }

  /** What runs the graphs; where it is not what was asked for, the reason goes into the log once. */
  device(): Promise<DeviceReport> {
    this.report ??= this.client.device().then(
      device => {
        if (device.note) this.options.log(device.note);
        return device;
      },
      error => {
        this.report = undefined;
        throw error;
      }
    );
    return this.report;
  }

  /** Opens a fit session in a process of its own. */
  async startFit(name: string, hooks: FitHooks, onDownload: (percent: number) => void): Promise<FitClient> {
    const start = () => FitClient.start(this.options, name, fitSettings(this.config), hooks);
    return this.downloads.during(start, onDownload);
  }

  /**
   * The scores of the good images of one version, read once.
   * @throws GoodpartsError `detector-unknown`, `detector-damaged`
   */
  async calibration(name: string, version: string): Promise<Calibration> {
    const key = `${name}@${version}@${await this.store.stamp(name, version)}`;
    const known = this.calibrations.get(key) ?? this.store.info(name, version).then(info => info.calibration);
    this.calibrations.delete(key);
    this.calibrations.set(key, known);
    const [oldest] = this.calibrations.keys();
    if (this.calibrations.size > MOST_CALIBRATIONS) this.calibrations.delete(oldest);
    known.catch(() => this.calibrations.delete(key));
    return known;
  }

  /** Whether a training of the detector was interrupted and can go on. */
  interrupted(name: string): Promise<boolean> {
    return interrupted(this.store.home(name));
  }

  /** Forgets a training that was interrupted. */
  forgetTraining(name: string): Promise<void> {
    return discard(this.store.home(name));
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

  close(): Promise<void> {
    this.endClaim();
    this.downloads.close();
    return this.client.close();
  }

  /** Without a detector of its own a model fits what the messages name, which nobody can compare beforehand. */
  private claim(log: (text: string) => void): () => void {
    const { config, detector, store } = this;
    if (!detector) return () => {};
    const title = config.name || config.id;
    return claim({ title, store: store.folder, detector, settings: fitSettings(config) }, log);
  }
}
