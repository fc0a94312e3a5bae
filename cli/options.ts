import path from 'node:path';
import type { Device, EngineOptions, FitSettings, PresetName } from '../lib/engine';
import { PRECISIONS } from '../lib/engine/presets';
import { UsageError, type Arguments, type Option } from './command';

const DEVICES: Device[] = ['auto', 'cpu', 'cuda', 'webgpu', 'dml', 'coreml'];
const PRESETS: PresetName[] = ['anomalib', 'pci'];

export const STORE: Record<string, Option> = {
  store: { type: 'string', value: 'FOLDER', help: 'the detector store; default ./goodparts' }
};
export const DEVICE: Record<string, Option> = {
  device: { type: 'string', value: 'DEVICE', help: `${DEVICES.join(', ')}; default auto` }
};
export const SETTINGS: Record<string, Option> = {
  backbone: { type: 'string', value: 'FILE', help: 'an .onnx file; default embedded, the one that comes along' },
  layers: {
    type: 'string',
    value: 'A,B',
    help: 'tensors of the backbone to take, shallow first; default: found by themselves'
  },
  precision: {
    type: 'string',
    value: 'NAME',
    help: `numbers in which the backbone computes: ${PRECISIONS.join(' or ')} (about twice as fast); default float32`
  },
  preset: { type: 'string', value: 'NAME', help: `${PRESETS.join(' or ')}; default anomalib` },
  size: {
    type: 'string',
    value: 'WxH|N',
    help: 'network input, pixels; default 256 (anomalib), 224 (pci: a crop of it from 8/7)'
  },
  coreset: { type: 'string', value: 'SHARE', help: 'share of the patches to keep, above 0 and up to 1; default 0.1' },
  bank: { type: 'string', value: 'N', help: 'upper bound of the patches to keep; default none' },
  seed: {
    type: 'string',
    value: 'N',
    help: 'of every random choice; same pictures, same seed, same detector; default 0'
  }
};

export function engineOptions(args: Arguments): EngineOptions {
  return { store: args.text('store') ?? './goodparts', device: args.choice('device', DEVICES) };
}

function sizeOf(text: string): { width: number; height: number } {
  const match = /^(\d+)(?:x(\d+))?$/i.exec(text);
  if (!match) throw new UsageError(`--size takes WIDTHxHEIGHT or one number, not "${text}"`);
  return { width: Number(match[1]), height: Number(match[2] ?? match[1]) };
}

/** Only what was asked for; the preset fills in the rest. */
export function fitSettings(args: Arguments): FitSettings {
  const preset = args.choice('preset', PRESETS);
  const backbone = args.text('backbone');
  const size = args.text('size');
  const { width, height } = size === undefined ? {} : sizeOf(size);
  const settings: FitSettings = {
    preset,
    backbone: backbone === undefined || backbone === 'embedded' ? backbone : path.resolve(backbone),
    layers: args
      .text('layers')
      ?.split(',')
      .map(layer => layer.trim())
      .filter(Boolean),
    precision: args.choice('precision', PRECISIONS),
    inputWidth: width,
    inputHeight: height,
    // as published: 256 before a crop of 224, 366 before one of 320
    resizeShorter: preset === 'pci' && width && height ? Math.round((Math.max(width, height) * 256) / 224) : undefined,
    coresetRatio: args.number('coreset'),
    bankSize: args.number('bank'),
    seed: args.number('seed')
  };
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}
