import fs from 'node:fs';
import path from 'node:path';
import type { Device, EngineOptions, FitSettings, PresetName } from '../lib/engine';
import { isBackboneId } from '../lib/engine/catalogue';
import { isKnownId } from '../lib/engine/library';
import { ALIGNS, METHODS, NETWORK_INPUTS, PRECISIONS, RECONSTRUCTIONS } from '../lib/engine/presets';
import type { LimitRule } from '../lib/engine/threshold';
import { readPicture } from '../lib/pictures';
import { UsageError, type Arguments, type Option } from './command';

const DEVICES: Device[] = ['auto', 'cpu', 'cuda', 'webgpu', 'dml', 'coreml'];
const PRESETS: PresetName[] = ['anomalib', 'pci', 'anomaly-dino'];
const AUGMENTS: Required<FitSettings>['augment'][] = ['none', 'flips', 'rotations'];

export const STORE: Record<string, Option> = {
  store: { type: 'string', value: 'FOLDER', help: 'the detector store; default ./goodparts' }
};
export const DEVICE: Record<string, Option> = {
  device: { type: 'string', value: 'DEVICE', help: `${DEVICES.join(', ')}; default auto` }
};
export const VERSION: Record<string, Option> = {
  version: { type: 'string', value: 'VERSION', help: 'instead of the current one' }
};
const DEFAULT_RULE = '99%';
export const LIMIT: Record<string, Option> = {
  threshold: {
    type: 'string',
    value: 'RULE',
    help: `a score, 99% or 3sigma of the good parts' scores; default ${DEFAULT_RULE}`
  }
};

/** `--threshold`: `0.8`, `99%`, `3sigma`. */
export function limitRule(args: Arguments): LimitRule {
  const text = args.text('threshold') ?? DEFAULT_RULE;
  const match = /^(-?\d*\.?\d+(?:e[+-]?\d+)?)(%|sigma)?$/i.exec(text.trim());
  if (!match) throw new UsageError(`--threshold takes a score, a percentile as 99%, or 3sigma, not "${text}"`);
  const value = Number(match[1]);
  if (match[2] === undefined) return { method: 'fixed', value };
  if (match[2] !== '%') return { method: 'sigma', value };
  if (value < 0 || value > 100) throw new UsageError(`--threshold: a percentile is from 0% to 100%, not "${text}"`);
  return { method: 'percentile', value };
}

/** Of a fit: what it may take of this machine. */
export const ROOM: Record<string, Option> = {
  'max-memory': {
    type: 'string',
    value: 'MB',
    help: 'a fit that would need more is refused; default three quarters of what is free, or of the container'
  }
};
export const SETTINGS: Record<string, Option> = {
  method: { type: 'string', value: 'NAME', help: `${METHODS.join(', ')}; default patchcore` },
  epochs: {
    type: 'string',
    value: 'N',
    help: 'how often a training goes through the pictures at most; default by their number'
  },
  backbone: {
    type: 'string',
    value: 'B',
    help: 'embedded (default), an id of goodparts models list, or an .onnx file'
  },
  'second-backbone': {
    type: 'string',
    value: 'B',
    help: 'another one that looks at the pictures as well; scores and maps are the mean of both; default none'
  },
  'second-weight': { type: 'string', value: 'N', help: 'how much it counts, where the first one counts 1; default 1' },
  layers: {
    type: 'string',
    value: 'A,B',
    help: 'tensors of the backbone to take, shallow first; default: found by themselves'
  },
  'layer-weights': {
    type: 'string',
    value: 'A,B',
    help: 'how much each layer counts, in their order; default all alike'
  },
  augment: {
    type: 'string',
    value: 'COPIES',
    help: 'what is learned of each picture as well: none, flips (4 in all) or rotations (8 in all); default none'
  },
  tile: {
    type: 'string',
    value: 'N',
    help: 'cut large pictures into tiles N pixels wide (the width of --size: native resolution); default 0, off'
  },
  'tile-overlap': { type: 'string', value: 'SHARE', help: 'of a tile that its neighbour sees too; default 0.25' },
  align: {
    type: 'string',
    value: 'HOW',
    help: 'turn: each part as the first good one lies; crop: and look at what is around it only; default none'
  },
  preset: { type: 'string', value: 'NAME', help: `${PRESETS.join(', ')}; default anomalib` },
  precision: {
    type: 'string',
    value: 'NAME',
    help: `numbers in which the backbone computes: ${PRECISIONS.join(' or ')} (faster on processors); default float32`
  },
  size: {
    type: 'string',
    value: 'WxH|N',
    help: 'network input, pixels; default 256 (anomalib), 224 (pci: a crop of it from 8/7), 252 (anomaly-dino)'
  },
  mask: {
    type: 'string',
    value: 'FILE',
    help: 'a picture laid over each picture: only what is white in it is inspected; default everything'
  },
  coreset: { type: 'string', value: 'SHARE', help: 'share of the patches to keep, above 0 and up to 1; default 0.1' },
  bank: { type: 'string', value: 'N', help: 'upper bound of the patches to keep; default none' },
  memory: {
    type: 'string',
    value: 'MB',
    help: 'memory for what a fit knows of each patch; beyond it patches are reduced; default 256'
  },
  seed: {
    type: 'string',
    value: 'N',
    help: 'of every random choice; same pictures, same seed, same detector; default 0'
  },
  network: {
    type: 'string',
    value: 'FILE',
    help: 'an .onnx file that is a detector by itself (anomalib, EfficientAD, autoencoder): it is calibrated, nothing is learned'
  },
  'network-input': {
    type: 'string',
    value: 'NUMBERS',
    help: `the numbers that it takes: ${NETWORK_INPUTS.join(', ')}; default auto`
  },
  reconstruction: {
    type: 'string',
    value: 'NAME',
    help: `how an autoencoder's picture is compared: ${RECONSTRUCTIONS.join(' or ')}; default mse`
  }
};

export const storeOf = (args: Arguments): string => args.text('store') ?? './goodparts';

export function engineOptions(args: Arguments): EngineOptions {
  return { store: storeOf(args), device: args.choice('device', DEVICES), maxMemory: roomOf(args) };
}

function roomOf(args: Arguments): number | undefined {
  const room = args.number('max-memory');
  if (room !== undefined && !(room > 0)) throw new UsageError(`--max-memory takes a number of MB above 0, not ${room}`);
  return room;
}

/** `1024x768` or `1024`. @throws UsageError */
export function sizeOf(text: string, option = 'size'): { width: number; height: number } {
  const match = /^(\d+)(?:x(\d+))?$/i.exec(text);
  if (!match) throw new UsageError(`--${option} takes WIDTHxHEIGHT or one number, not "${text}"`);
  return { width: Number(match[1]), height: Number(match[2] ?? match[1]) };
}

/** An id stays what it is; a file has its full path in the detector, which may be used from another folder. */
function backboneOf(text: string, store: string): string {
  const isId = text === 'embedded' || isKnownId(store, text) || (isBackboneId(text) && !fs.existsSync(text));
  return isId ? text : path.resolve(text);
}

/** @throws GoodpartsError `path-missing` */
async function regionOf(mask: string | undefined): Promise<FitSettings['region']> {
  return mask === undefined ? undefined : { include: [], exclude: [], mask: await readPicture(mask) };
}

/** Only what was asked for; the preset fills in the rest. @throws GoodpartsError `path-missing` for a mask that is not there */
export async function fitSettings(args: Arguments): Promise<FitSettings> {
  const preset = args.choice('preset', PRESETS);
  const [backbone, secondBackbone] = ['backbone', 'second-backbone'].map(option => {
    const named = args.text(option);
    return named && backboneOf(named, storeOf(args));
  });
  const network = args.text('network');
  const size = args.text('size');
  const { width, height } = size === undefined ? {} : sizeOf(size);
  const settings: FitSettings = {
    method: args.choice('method', METHODS),
    epochs: args.number('epochs'),
    preset,
    backbone,
    secondBackbone,
    secondWeight: args.number('second-weight'),
    layers: args
      .text('layers')
      ?.split(',')
      .map(layer => layer.trim())
      .filter(Boolean),
    layerWeights: args.text('layer-weights')?.split(',').map(Number),
    augment: args.choice('augment', AUGMENTS),
    precision: args.choice('precision', PRECISIONS),
    tile: args.number('tile'),
    tileOverlap: args.number('tile-overlap'),
    align: args.choice('align', ALIGNS),
    inputWidth: width,
    inputHeight: height,
    // as published: 256 before a crop of 224, 366 before one of 320
    resizeShorter:
      preset === 'pci' && width && height && !args.number('tile')
        ? Math.round((Math.max(width, height) * 256) / 224)
        : undefined,
    region: await regionOf(args.text('mask')),
    coresetRatio: args.number('coreset'),
    bankSize: args.number('bank'),
    memoryLimit: args.number('memory'),
    seed: args.number('seed'),
    network: network && path.resolve(network),
    networkInput: args.choice('network-input', NETWORK_INPUTS),
    reconstruction: args.choice('reconstruction', RECONSTRUCTIONS)
  };
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}
