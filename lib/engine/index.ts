export * from './types';
export * from './errors';
export * from './engine';
export * from './threshold';
