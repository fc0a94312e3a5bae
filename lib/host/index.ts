export * from './client';
export type { EngineState } from './process';
export type { Usage } from './protocol';
export { usage } from './usage';
