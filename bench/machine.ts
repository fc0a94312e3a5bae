import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { Runtime } from '../lib/engine/runtime';
import type { BenchResult } from './result';

/** What of a processor decides how fast it multiplies. */
const FEATURES = ['avx2', 'avx512f', 'avx512_vnni', 'avx_vnni', 'amx_tile', 'asimd', 'i8mm'];

function features(): string[] {
  if (!fs.existsSync('/proc/cpuinfo')) return [];
  const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(fs.readFileSync('/proc/cpuinfo', 'utf8'))?.[1].split(' ') ?? [];
  return FEATURES.filter(feature => flags.includes(feature));
}

export const machine = (): BenchResult['machine'] => ({
  cpu: os.cpus()[0].model,
  cores: os.availableParallelism(),
  memoryGiB: Math.round(os.totalmem() / 2 ** 30),
  system: `${os.type()} ${os.release()} ${os.arch()}`,
  features: features()
});

const versionIn = (file: string): string => (JSON.parse(fs.readFileSync(file, 'utf8')) as { version: string }).version;

export async function versions(): Promise<Record<string, string>> {
  return {
    goodparts: versionIn(path.resolve(__dirname, '../../package.json')),
    node: process.versions.node,
    onnxruntime: (await Runtime.create('cpu', 1)).version,
    sharp: sharp.versions.sharp ?? '',
    'node-red': versionIn(require.resolve('node-red/package.json'))
  };
}
