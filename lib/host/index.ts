export * from './client';
export type { EngineState } from './process';
export type { Usage } from './protocol';
export { soon } from './soon';
export { usage } from './usage';
