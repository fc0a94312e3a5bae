import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Figure } from './result';

export type Peer = 'anomalib' | 'openvino' | 'faiss' | 'sklearn';
/** timm's name of the network */
export type PeerBackbone = 'resnet18' | 'wide_resnet50_2';

export interface PeerJob {
  peer: Peer;
  backbone: PeerBackbone;
  /** folder of good pictures */
  images: string;
  phases?: ('fit' | 'score')[];
  /** steps of their greedy to measure, the rest is extrapolated; 0: all */
  greedySteps?: number;
  /** pictures to score */
  count?: number;
  threads: number;
}

/** Milliseconds of each call, and what they come to. */
export type PeerTimes = Figure & { times: number[] };

export interface PeerScore {
  bank: [number, number];
  ms: PeerTimes;
  searchMs?: PeerTimes;
  precision?: string;
  equal?: boolean;
  worstRelativeDifference?: number;
}

export interface PeerFit {
  seconds: number;
  greedySeconds: number;
  greedySteps: number;
  greedyStepsMeasured: number;
  extrapolated: boolean;
  peakMb: number;
  patches: [number, number];
  radius: number | null;
}

/** What run.py writes for one peer, see bench/peers/README.md. */
export interface PeerResult {
  versions: Record<string, string>;
  fit?: PeerFit;
  score?: PeerScore;
  scoreF32?: PeerScore;
  search?: { bank: [number, number]; sklearnMs: PeerTimes; faissMs: PeerTimes };
}

const FOLDER = path.resolve(__dirname, '../../bench/peers');
export const PYTHON = path.join(FOLDER, '.venv/bin/python');

/** A line that says how to install the peers, where they are not. */
export function peersMissing(): string | undefined {
  const needed = [PYTHON, ...['resnet18', 'wide_resnet50_2'].map(name => path.join(FOLDER, `out/${name}.pth`))];
  if (needed.every(file => fs.existsSync(file))) return undefined;
  return 'The peers are not installed: bench/peers/setup.sh <folder of good pictures> does that (7 GB). Going on without them.';
}

/** Measures one peer in a process of its own. @throws Error with what it said last */
export function runPeer({ peer, backbone, images, phases, greedySteps = 300, count, threads }: PeerJob): PeerResult {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-peer-'));
  const json = path.join(folder, 'result.json');
  const args = ['-W', 'ignore', path.join(FOLDER, 'run.py'), '--peer', peer, '--backbone', backbone];
  args.push('--images', images, '--json', json);
  if (phases) args.push('--phases', ...phases);
  if (greedySteps) args.push('--greedy-steps', String(greedySteps));
  if (count) args.push('--count', String(count));
  try {
    const { status, stderr, error } = spawnSync(PYTHON, args, {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
      env: { ...process.env, PEER_THREADS: String(threads) }
    });
    if (status !== 0)
      throw new Error(`${peer}: ${error?.message ?? stderr.trim().split('\n').at(-1) ?? `exit ${status}`}`);
    return JSON.parse(fs.readFileSync(json, 'utf8')) as PeerResult;
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}
