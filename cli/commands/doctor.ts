import { EXIT, type Command } from '../command';
import { DEVICE, engineOptions, STORE } from '../options';
import { print, printJson } from '../output';
import { withEngine } from '../run';

export const doctor: Command = {
  summary: 'what is installed, which device works, and whether the numbers are right there',
  operands: '',
  options: { ...DEVICE, ...STORE, json: { type: 'boolean', help: 'print the report as one JSON object' } },
  notes: 'Exits with 1 when a check failed.',
  async run(args) {
    const report = await withEngine(engineOptions(args), engine => engine.doctor());
    if (args.flag('json')) printJson(report);
    else {
      const { wanted, used, note } = report.device;
      print(`device  ${used}${wanted === used ? '' : ` (asked for ${wanted})`}${note ? `: ${note}` : ''}`);
      for (const { what, ok, detail } of report.checks) print(`${ok ? 'ok    ' : 'FAILED'}  ${what}: ${detail}`);
    }
    return report.checks.every(check => check.ok) ? EXIT.fine : EXIT.failed;
  }
};
