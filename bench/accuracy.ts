// `npm run bench:accuracy -- --json FILE`: `goodparts evaluate` for each class, backbone, preset, size and coreset, and anomalib beside it where it is
// installed; then the table in docs/accuracy.md. What FILE already holds is not run again, so a long grid can be made in pieces.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { PRESETS } from '../lib/engine/presets';
import type { PresetName } from '../lib/engine/types';
import type { Evaluation } from '../lib/evaluate';
import { peersMissing, PYTHON } from './peers';
import { fillIn } from './report/page';

type System = 'goodparts' | 'anomalib';

/** One cell of the grid: what is run, and on what. */
interface Cell {
  system: System;
  /** folder of the class */
  folder: string;
  /** `embedded`, or a file */
  backbone: string;
  preset: string;
  size: number;
  coreset: number;
}

/** Which cell, and what came of it; anomalib's times are not taken: they are in docs/performance.md. */
type Figures = Pick<Evaluation, 'image_auroc' | 'pixel_auroc' | 'aupro' | 'bank_size'> &
  Partial<Pick<Evaluation, 'score_ms_p50' | 'peak_rss_mb'>>;
interface Result extends Figures {
  key: string;
}

const ROOT = path.resolve(__dirname, '../..');
const SHARED = path.resolve(ROOT, '../shared');
const nameOf = (file: string): string => path.basename(file, '.onnx');
const keyOf = ({ system, folder, backbone, preset, size, coreset }: Cell): string =>
  [path.basename(folder), nameOf(backbone), preset, size, coreset, system].join(' ');

function options(): { cells: Cell[]; json: string; docs: boolean } {
  const { values } = parseArgs({
    options: {
      json: { type: 'string' },
      data: { type: 'string', default: path.join(SHARED, 'data') },
      classes: { type: 'string', default: 'mvtec_bottle,aws_cookie' },
      backbones: { type: 'string', default: 'embedded' },
      presets: { type: 'string', default: 'anomalib,pci' },
      sizes: { type: 'string', default: '' },
      coresets: { type: 'string', default: '0.1,0.01' },
      // anomalib beside it takes minutes a cell
      peer: { type: 'boolean', default: false },
      docs: { type: 'boolean', default: false }
    }
  });
  if (!values.json) throw new Error('Give the file that collects the figures: --json FILE.');
  const list = (text: string): string[] => text.split(',').filter(Boolean);
  const cells: Cell[] = [];
  for (const name of list(values.classes))
    for (const backbone of list(values.backbones))
      for (const preset of list(values.presets))
        for (const size of list(values.sizes || String(PRESETS[preset as PresetName].settings.inputWidth)).map(Number))
          for (const coreset of list(values.coresets).map(Number)) {
            const cell = { folder: path.join(values.data, name), backbone, preset, size, coreset };
            cells.push({ ...cell, system: 'goodparts' });
            if (values.peer && preset === 'anomalib') cells.push({ ...cell, system: 'anomalib' });
          }
  return { cells, json: values.json, docs: values.docs };
}

function run(command: string, args: string[], env: Record<string, string> = {}): void {
  const { status, error } = spawnSync(command, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...env }
  });
  if (error || status !== 0) throw error ?? new Error(`${command} ${args.join(' ')} ended with ${status}.`);
}

/** Each in a process of its own, for the peak of its memory. */
function measure(cell: Cell): Figures {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-accuracy-')), 'figures.json');
  const { system, folder, backbone, preset, size, coreset } = cell;
  try {
    if (system === 'goodparts') {
      const cli = path.join(ROOT, 'dist/cli/goodparts.js');
      const settings = { backbone, preset, size, coreset, json: file };
      const given = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
      run(process.execPath, [cli, 'evaluate', folder, ...given]);
    } else {
      const given = {
        class: folder,
        backbone: backbone === 'embedded' ? path.join(ROOT, 'models/backbone.onnx') : backbone,
        size,
        coreset,
        json: file
      };
      const args = Object.entries(given).flatMap(([name, value]) => [`--${name}`, String(value)]);
      if (backbone === 'embedded') args.push('--normalises');
      const script = path.join(ROOT, 'bench/peers/accuracy.py');
      // each step of its greedy takes and frees tens of MB; below this size glibc kept them: 22 GB after 740 steps
      run(PYTHON, ['-W', 'ignore', script, ...args], { MALLOC_MMAP_THRESHOLD_: '4194304' });
    }
    return JSON.parse(fs.readFileSync(file, 'utf8')) as Figures;
  } finally {
    fs.rmSync(path.dirname(file), { recursive: true, force: true });
  }
}

const three = (value: number | null | undefined): string =>
  value === null || value === undefined ? '-' : value.toFixed(3).replace(/^0/, '');
const whole = (value: number | undefined): string => (value === undefined ? '' : String(Math.round(value)));

/** One line a setting; anomalib's figures behind ours. */
function table(results: Result[]): string {
  const ours = results.filter(({ key }) => key.endsWith(' goodparts'));
  const triple = (r: Figures | undefined): string =>
    r ? [r.image_auroc, r.pixel_auroc, r.aupro].map(three).join(' / ') : '';
  const lines = ours.map(result => {
    const [name, backbone, preset, size, coreset] = result.key.split(' ');
    const peer = results.find(({ key }) => key === result.key.replace(/goodparts$/, 'anomalib'));
    const share = `${Number(coreset) * 100} %, ${result.bank_size}`;
    const cost = [whole(result.score_ms_p50), whole(result.peak_rss_mb)];
    return [name, backbone, preset, size, share, triple(result), triple(peer), ...cost];
  });
  const head = ['class', 'backbone', 'preset', 'px', 'bank', 'Goodparts', 'anomalib', 'ms', 'MB'];
  return [head, head.map(() => '---'), ...lines].map(cells => `| ${cells.join(' | ')} |`).join('\n');
}

function main(): void {
  const { cells, json, docs } = options();
  const results: Result[] = fs.existsSync(json) ? (JSON.parse(fs.readFileSync(json, 'utf8')) as Result[]) : [];
  const missing = peersMissing();
  if (missing && cells.some(({ system }) => system === 'anomalib')) throw new Error(missing);
  for (const cell of cells) {
    const key = keyOf(cell);
    if (results.some(result => result.key === key)) continue;
    const { image_auroc, pixel_auroc, aupro, bank_size, score_ms_p50, peak_rss_mb } = measure(cell);
    const cost = cell.system === 'goodparts' ? { score_ms_p50, peak_rss_mb } : {};
    results.push({ key, image_auroc, pixel_auroc, aupro, bank_size, ...cost });
    results.sort((a, b) => (a.key < b.key ? -1 : 1));
    fs.writeFileSync(json, `${JSON.stringify(results, null, 1)}\n`);
    console.log(key, [image_auroc, pixel_auroc, aupro].map(three).join(' / '));
  }
  if (docs) fillIn(path.join(ROOT, 'docs/accuracy.md'), new Map([['grid', table(results)]]));
}

if (require.main === module) main();
