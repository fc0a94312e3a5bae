// `npm run bench`: all figures of this machine in one run, printed and not asserted; docs/performance.md says what they are and how to read
// them, and bench/options.ts what can be set.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { prepareContext } from './context';
import { machine, versions } from './machine';
import { parseOptions } from './options';
import { describe, describeMachine } from './report/text';
import type { BenchResult } from './result';
import { runSection, SECTIONS } from './sections';

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2), Object.keys(SECTIONS));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-bench-'));
  const { threads, rounds, seconds, quick } = options;
  try {
    const result: BenchResult = {
      date: new Date().toISOString().slice(0, 10),
      machine: machine(),
      versions: await versions(),
      loadBefore: Math.round(os.loadavg()[0] * 10) / 10,
      threads,
      rounds,
      seconds,
      quick,
      pictures: options.images ? path.basename(path.resolve(options.images)) : 'sample parts',
      sections: {}
    };
    console.log(describeMachine(result));
    const context = await prepareContext(options, folder, result.versions);
    for (const name of Object.keys(SECTIONS)) {
      if (name === 'soak' ? !options.soak : options.only && !options.only.includes(name)) continue;
      result.sections[name] = await runSection(name, context);
      console.log(describe(name, result.sections[name]));
      // after each section: a run that is stopped has not been for nothing
      if (options.json) fs.writeFileSync(options.json, JSON.stringify(result, null, 1) + '\n');
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  console.error((error as Error).message);
  process.exitCode = 1;
});
