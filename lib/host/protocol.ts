import { GoodpartsError } from '../engine/errors';
import type {
  AnomalyMap,
  DetectorInfo,
  DeviceReport,
  DoctorReport,
  EngineOptions,
  ErrorCode,
  FitPlan,
  FitProgress,
  FitResult,
  FitSettings,
  ImageInput,
  PlanRequest,
  ScoreOptions,
  ScoreResult
} from '../engine';
import type { DoctorSubject } from '../engine/doctor';

/** What of the options can travel: the signal becomes a `cancel`, the entries come as parts anyway. */
export type ScoreRequest = Omit<ScoreOptions, 'signal' | 'onEntry'>;

/** What a process has used of the machine so far. */
export interface Usage {
  /** user and system time together */
  cpuSeconds: number;
  /** resident now */
  memoryBytes: number;
}

/** What the engine process can be asked: the arguments of each method and what it gives back (`unknown`: nothing). */
export interface Methods {
  score: { args: [name: string, images: ImageInput[], options?: ScoreRequest]; value: (ScoreResult | Error)[] };
  load: { args: [name: string, version?: string]; value: DetectorInfo };
  list: { args: []; value: DetectorInfo[] };
  delete: { args: [name: string, version?: string]; value: unknown };
  activate: { args: [name: string, version: string]; value: unknown };
  device: { args: []; value: DeviceReport };
  doctor: { args: [subject?: DoctorSubject]; value: DoctorReport };
  plan: { args: [settings: FitSettings, request: PlanRequest]; value: FitPlan };
  usage: { args: []; value: Usage };
  /** `resume`: a training that was interrupted goes on, with its own settings and pictures */
  'fit.start': { args: [name: string, settings?: FitSettings, resume?: boolean]; value: unknown };
  /** gives back how many images the session holds */
  'fit.add': { args: [image: ImageInput]; value: number };
  'fit.finish': { args: []; value: FitResult };
  /** holds the training under way, or lets it go on; also while `fit.finish` is under way */
  'fit.pause': { args: [pause: boolean]; value: unknown };
  'fit.abort': { args: []; value: unknown };
}
export type Method = keyof Methods;

/** From the client to the engine process. */
export interface Call {
  id: number;
  /** which Engine is meant; the process keeps one for each distinct set of options */
  engine: EngineOptions;
  method: Method;
  args: unknown[];
}

/** Takes a `score` back: what is not scored yet of it is left, and its call ends. */
export interface Cancel {
  cancel: number;
}

/**
 * From the engine process to the client. The entries of a `score` come one a message, as `part`, as soon as each is there: the maps of
 * a batch in a single message would hold up the client's event loop for a tenth of a second and more. `device` comes unasked, when
 * the device fails in the middle of work; `alive` every second from a process that fits.
 */
export type Answer =
  | { ready: true }
  | { progress: FitProgress }
  | { device: DeviceReport }
  | { alive: true }
  | { id: number; part: WireScore }
  | { id: number; value: unknown }
  | { id: number; error: WireError };

/** Structured clone keeps neither the class nor the `code` of an error, so errors travel as plain objects. */
export interface WireError {
  message: string;
  code?: ErrorCode;
  details?: GoodpartsError['details'];
  /** of an error that nobody raised on purpose */
  stack?: string;
}

/** The engine's answer for one image of a batch. */
export type WireScore = { result: ScoreResult } | { error: WireError };

export function toWire(error: unknown): WireError {
  if (error instanceof GoodpartsError) return { message: error.message, code: error.code, details: error.details };
  return error instanceof Error ? { message: error.message, stack: error.stack } : { message: String(error) };
}

export function fromWire(wire: WireError): Error {
  const { code, message, details, stack } = wire;
  return code ? new GoodpartsError(code, message, details) : Object.assign(new Error(message), stack && { stack });
}

export const toWireScore = (entry: ScoreResult | Error): WireScore =>
  entry instanceof Error ? { error: toWire(entry) } : { result: entry };

export function fromWireScore(entry: WireScore): ScoreResult | Error {
  if ('error' in entry) return fromWire(entry.error);
  const { map } = entry.result;
  return map ? { ...entry.result, map: aligned(map) } : entry.result;
}

/** As received the map's bytes lie anywhere in the message; a Float32Array can only be laid over multiples of four. */
function aligned(map: AnomalyMap): AnomalyMap {
  return map.data.byteOffset % 4 === 0 ? map : { ...map, data: Buffer.from(new Uint8Array(map.data).buffer) };
}
