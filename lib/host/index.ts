export * from './client';
export type { EngineState } from './process';
