import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

export type Peer = 'anomalib' | 'openvino' | 'faiss' | 'sklearn';

export interface PeersOptions {
  /** timm's name of the network */
  backbone: 'resnet18' | 'wide_resnet50_2';
  /** folder of good pictures; default: those that setup.sh made */
  images?: string;
  peers?: Peer[];
  /** steps of their greedy to measure, the rest is extrapolated; 0: all */
  greedySteps?: number;
}

/** What run.py wrote for one peer, see bench/peers/README.md; `error` where it failed. */
export type PeerResult = { peer: Peer; error?: string } & Record<string, unknown>;

const ROOT = path.resolve(__dirname, '../..');
const FOLDER = path.join(ROOT, 'bench/peers');
const PYTHON = path.join(FOLDER, '.venv/bin/python');
const ALL: Peer[] = ['anomalib', 'openvino', 'faiss', 'sklearn'];

/** Measures the peers one after the other; undefined, and a line that says how to install them, where they are not. */
export function runPeers(options: PeersOptions): PeerResult[] | undefined {
  const images = options.images ?? path.join(FOLDER, 'out/images');
  const missing = [PYTHON, path.join(FOLDER, `out/${options.backbone}.pth`), images].find(f => !fs.existsSync(f));
  if (missing) {
    console.log('The peers are not installed: bench/peers/setup.sh <folder of good pictures> does that (7 GB).');
    return undefined;
  }
  return (options.peers ?? ALL).map(peer => runPeer(peer, images, options));
}

function runPeer(peer: Peer, images: string, { backbone, greedySteps = 300 }: PeersOptions): PeerResult {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-peer-'));
  const json = path.join(folder, 'result.json');
  const args = [
    '-W',
    'ignore',
    path.join(FOLDER, 'run.py'),
    '--peer',
    peer,
    '--backbone',
    backbone,
    '--images',
    images
  ];
  if (greedySteps) args.push('--greedy-steps', String(greedySteps));
  try {
    const { status, stderr, error } = spawnSync(PYTHON, [...args, '--json', json], {
      encoding: 'utf8',
      maxBuffer: 2 ** 26
    });
    if (status !== 0) return { peer, error: error?.message ?? stderr.trim().split('\n').at(-1) ?? `exit ${status}` };
    return JSON.parse(fs.readFileSync(json, 'utf8')) as PeerResult;
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}
