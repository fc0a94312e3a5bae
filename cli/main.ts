import fs from 'node:fs';
import path from 'node:path';
import { GoodpartsError } from '../lib/engine/errors';
import { columns, EXIT, helpOf, parse, UsageError, type Command } from './command';
import { activate } from './commands/activate';
import { plan } from './commands/plan';
import { remove } from './commands/delete';
import { doctor } from './commands/doctor';
import { evaluate } from './commands/evaluate';
import { exportDetector } from './commands/export';
import { fit } from './commands/fit';
import { importDetector } from './commands/import';
import { list } from './commands/list';
import { models } from './commands/models';
import { sample } from './commands/sample';
import { score } from './commands/score';
import { Interrupted } from './run';

const COMMANDS: Record<string, Command> = {
  fit,
  score,
  evaluate,
  list,
  activate,
  delete: remove,
  export: exportDetector,
  import: importDetector,
  models,
  plan,
  sample,
  doctor
};

// errors that a value on the command line is to blame for
const WRONG_VALUES = new Set(['name-invalid', 'fit-settings']);

const overview = () => `usage: goodparts <command> [options]

Learns what good parts look like and finds the bad ones.

commands:
${columns(Object.entries(COMMANDS).map(([name, command]) => [name, command.summary]))}

goodparts <command> --help says more about one. Exit codes: 0 fine, 1 failed, 2 wrong usage.`;

function version(): string {
  const file = path.resolve(__dirname, '../../package.json');
  return (JSON.parse(fs.readFileSync(file, 'utf8')) as { version: string }).version;
}

function report(error: unknown, command?: string): number {
  if (error instanceof Interrupted) return EXIT.interrupted;
  const message = error instanceof Error ? error.message : String(error);
  const usage = error instanceof UsageError || (error instanceof GoodpartsError && WRONG_VALUES.has(error.code));
  const help = error instanceof UsageError ? ` (goodparts ${command ? `${command} ` : ''}--help)` : '';
  process.stderr.write(`goodparts: ${message.split('\n')[0]}${help}\n`);
  // a fault of ours rather than of the input: whoever reports it can get at the stack
  if (process.env.GOODPARTS_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  return usage ? EXIT.usage : EXIT.failed;
}

/** Runs one command line and says the exit code. */
export async function main(argv: string[]): Promise<number> {
  const [name, ...args] = argv;
  if (name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(`${overview()}\n`);
    return EXIT.fine;
  }
  if (name === '--version') {
    process.stdout.write(`${version()}\n`);
    return EXIT.fine;
  }
  if (name === undefined) return report(new UsageError('give a command'));
  if (!Object.hasOwn(COMMANDS, name)) return report(new UsageError(`there is no command "${name}"`));
  const command = COMMANDS[name];
  const operandsOnly = args.indexOf('--');
  if (args.slice(0, operandsOnly < 0 ? undefined : operandsOnly).some(arg => arg === '--help' || arg === '-h')) {
    process.stdout.write(`${helpOf(name, command)}\n`);
    return EXIT.fine;
  }
  try {
    return await command.run(parse(command, args));
  } catch (error) {
    return report(error, name);
  }
}
