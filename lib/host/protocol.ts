import { GoodpartsError } from '../engine/errors';
import type {
  DetectorInfo,
  DeviceReport,
  DoctorReport,
  EngineOptions,
  ErrorCode,
  FitProgress,
  FitResult,
  FitSettings,
  ImageInput,
  ScoreOptions,
  ScoreResult
} from '../engine';

/** What the engine process can be asked: the arguments of each method and what it gives back (`unknown`: nothing). */
export interface Methods {
  score: { args: [name: string, images: ImageInput[], options?: ScoreOptions]; value: WireScore[] };
  load: { args: [name: string, version?: string]; value: DetectorInfo };
  list: { args: []; value: DetectorInfo[] };
  delete: { args: [name: string, version?: string]; value: unknown };
  activate: { args: [name: string, version: string]; value: unknown };
  device: { args: []; value: DeviceReport };
  doctor: { args: []; value: DoctorReport };
  'fit.start': { args: [name: string, settings?: FitSettings]; value: unknown };
  /** gives back how many images the session holds */
  'fit.add': { args: [image: ImageInput]; value: number };
  'fit.finish': { args: []; value: FitResult };
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

/** From the engine process to the client. */
export type Answer =
  { ready: true } | { progress: FitProgress } | { id: number; value: unknown } | { id: number; error: WireError };

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
