export * from './types';
export * from './errors';
export * from './engine';
export * from './threshold';
export { DEFAULT_LIMITS, openImage } from './decode';
export { PIXEL_RULE } from './detector';
export { checkName, DetectorStore } from './store';
export { regions } from './regions';
export { Resources } from './resources';
