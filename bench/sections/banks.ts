// Banks of thousands to a million patches: search of the whole bank against search in its cells.
import fs from 'node:fs';
import { apart } from '../apart';
import { readMvtec } from '../../lib/mvtec';
import type { Context } from '../context';
import { indexBench, type GraphRow, type IndexBenchRow } from '../index';
import type { Row, SectionResult } from '../result';
import { round, spread } from '../rounds';

interface Job {
  pictures: string[];
  tests: string[];
  /** with and without defects */
  labelled: { file: string; label: 0 | 1 }[];
  sizes: number[];
  threads: number;
}

export function work({ pictures, tests, labelled, sizes, threads }: Job): Promise<IndexBenchRow[]> {
  const read = (files: string[]): Buffer[] => files.map(file => fs.readFileSync(file));
  return indexBench({
    train: read(pictures),
    test: read(tests),
    labelled: labelled.map(({ file, label }) => ({ picture: fs.readFileSync(file), label })),
    sizes,
    threads
  });
}

export async function run({ options, pictures, tests, classFolder }: Context): Promise<SectionResult> {
  const { rounds, threads, quick, long } = options;
  const sizes = quick ? [1000, 3000] : [1000, 10_000, 100_000];
  const { test } = await readMvtec(classFolder);
  const labelled = test.map(({ path: file, label }) => ({ file, label }));
  const job: Job = { pictures, tests: tests.slice(0, quick ? 2 : 12), labelled, sizes, threads };
  // how well defects are found is the same in every round
  const found = Array.from({ length: rounds }, (_, round) =>
    apart<IndexBenchRow[]>(__filename, { ...job, labelled: round ? [] : labelled })
  );
  // takes minutes, and 4 GiB of memory: once
  if (long) found.push(apart<IndexBenchRow[]>(__filename, { ...job, sizes: [1_000_000] }));
  const all = long ? [...sizes, 1_000_000] : sizes;
  const rows = all.map(bank =>
    rowOf(
      bank,
      found.flat().filter(row => row.bank === bank)
    )
  );
  const graphs = found.flat().flatMap(({ bank, graphs }) => graphs.map(graph => ({ bank, graph })));
  const names = [...new Set(graphs.map(({ graph }) => graph.name))];
  return {
    rows,
    notes: [
      'Embedded backbone, patches of the training pictures and of shifted, lit and mirrored copies.',
      ...(names.length ? [] : ['Graph indexes were not there to compare: `npm i --no-save hnswlib-node usearch`.']),
      ...names.flatMap(name =>
        all
          .map(bank => graphs.filter(row => row.bank === bank && row.graph.name === name).map(({ graph }) => graph))
          .filter(rows => rows.length > 0)
          .map((rows, i) => noteOf(name, all[i], rows))
      )
    ]
  };
}

function rowOf(bank: number, rows: IndexBenchRow[]): Row {
  return {
    bank,
    wholeMs: spread(rows.flatMap(row => row.wholeMs)),
    cellsMs: spread(rows.flatMap(row => row.cellsMs)),
    recall: rows[0].recall,
    wholeAuroc: auroc(rows[0].wholeAuroc),
    cellsAuroc: auroc(rows[0].cellsAuroc),
    buildSeconds: spread(rows.map(row => row.buildS)),
    fileMb: round(rows[0].fileMb)
  };
}

/** Four digits: a thousandth is what they may differ by. */
const auroc = (value?: number): number | undefined => value && Math.round(value * 1e4) / 1e4;

function noteOf(name: string, bank: number, rows: GraphRow[]): string {
  const { median, p5, p95 } = spread(rows.flatMap(row => row.ms));
  const { recall, buildS, worstScore } = rows[0];
  return (
    `Graph index ${name}, ${bank.toLocaleString('en-US')} patches: ${median} ms (${p5} to ${p95}), nearest found ${recall}, ` +
    `score up to ${round(100 * worstScore)} % too high, built in ${buildS} s.`
  );
}
