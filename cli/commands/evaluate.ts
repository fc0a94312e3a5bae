import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { DefectEvaluation, Evaluation } from '../../lib/evaluate';
import { readMvtec } from '../../lib/mvtec';
import { GoodpartsError } from '../../lib/engine/errors';
import { EXIT, UsageError, type Command } from '../command';
import { DEVICE, engineOptions, fitSettings, ROOM, SETTINGS, STORE } from '../options';
import { print, printJson, Progress, table } from '../output';
import { interruptible, withEngine } from '../run';

const fixed = (value: number | null, digits: number) => (value === null ? '-' : value.toFixed(digits));

function readable(name: string, e: Evaluation, defects: DefectEvaluation[]): string {
  const rows: [string, string][] = [
    ['image AUROC', fixed(e.image_auroc, 4)],
    ['image average precision', fixed(e.image_ap, 4)],
    ['image F1-max', fixed(e.image_f1max, 4)],
    ['pixel AUROC', fixed(e.pixel_auroc, 4)],
    ['AU-PRO (FPR to 0.3)', fixed(e.aupro, 4)],
    e.epochs === null ? ['bank, patches', String(e.bank_size)] : ['epochs', String(e.epochs)],
    ['fit, seconds', fixed(e.fit_seconds, 1)],
    ['score, ms (median)', fixed(e.score_ms_p50, 1)],
    ['score, ms (95 %)', fixed(e.score_ms_p95, 1)],
    ['peak memory, MB', fixed(e.peak_rss_mb, 0)]
  ];
  const width = Math.max(...rows.map(([, value]) => value.length));
  const kinds = defects.map(d => [d.defect, String(d.images), fixed(d.image_auroc, 4)]);
  const backbones = [e.backbone, e.second_backbone].filter(Boolean).join(' and ');
  const how = e.epochs === null ? `backbone ${backbones}, preset ${e.preset}` : `method ${e.method}`;
  return [
    `${name}: ${e.train_images} good pictures learnt, ${e.test_images} tested; ${how}, seed ${e.seed}`,
    table(
      ['', ''],
      rows.map(([what, value]) => [what, value.padStart(width)])
    ).trimStart(),
    ...(kinds.length ? [table(['defect', 'pictures', 'image AUROC'], kinds)] : [])
  ].join('\n\n');
}

function unwritable(file: string): (error: NodeJS.ErrnoException) => never {
  return error => {
    throw new GoodpartsError('path-missing', `${file} cannot be written (${error.code}).`);
  };
}

/** Before a fit that may take an hour. Nothing is opened for that: the file may be a pipe, whose reader would see its end. */
async function checkWritable(file: string): Promise<void> {
  if (file.trim() === '') throw new UsageError('--json takes a file, or - to print');
  const stat = await fs.stat(file).catch(() => null);
  if (stat?.isDirectory()) throw new GoodpartsError('path-missing', `${file} cannot be written: it is a folder.`);
  // the separator at the end makes a file in the folder's place an error
  const place = stat ? file : path.dirname(path.resolve(file)) + path.sep;
  await fs.access(place, fs.constants.W_OK).catch(unwritable(file));
}

export const evaluate: Command = {
  summary: "fit on a class of a data set in MVTec's layout and measure on its test pictures",
  operands: '<class folder>',
  options: {
    ...SETTINGS,
    ...ROOM,
    ...DEVICE,
    store: { ...STORE.store, help: 'where downloaded and imported backbones are; default ./goodparts' },
    json: { type: 'string', value: 'FILE', help: 'write the figures as JSON; - prints them, and only them' }
  },
  notes: `
The folder holds train/good, test/good, test/<defect> and, for the pixel metrics, ground_truth/<defect>. The detector is not kept.
A figure is null (-) where it is not defined: without masks, or without both good and defective pictures.`,
  async run(args) {
    const settings = await fitSettings(args);
    const options = engineOptions(args);
    const json = args.text('json');
    if (json !== undefined && json !== '-') await checkWritable(json);
    const set = await readMvtec(args.operands[0]);
    const { evaluate: measure } = await import('../../lib/evaluate.js');
    const progress = new Progress();
    const onNote = (text: string) => progress.note(`goodparts: ${text}`);
    const { evaluation, defects } = await interruptible(async signal => {
      const store = await fs.mkdtemp(path.join(os.tmpdir(), 'goodparts-evaluate-'));
      try {
        return await withEngine({ ...options, store, backbones: options.store }, engine =>
          measure(engine, set, settings, { signal, onProgress: progress.report, onNote })
        );
      } finally {
        progress.stop();
        await fs.rm(store, { recursive: true, force: true });
      }
    });
    if (json === '-') printJson(evaluation);
    else {
      print(readable(set.name, evaluation, defects));
      if (json !== undefined)
        await fs.writeFile(json, `${JSON.stringify(evaluation, null, 2)}\n`).catch(unwritable(json));
    }
    return EXIT.fine;
  }
};
