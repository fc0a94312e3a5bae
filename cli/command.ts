import { parseArgs } from 'node:util';

/** Exit codes of every command. */
export const EXIT = { fine: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** The command line itself is wrong. */
export class UsageError extends Error {}

export interface Option {
  type: 'string' | 'boolean';
  /** what stands for the value in the help */
  value?: string;
  help: string;
}

export interface Command {
  /** one line for the list of commands */
  summary: string;
  /** the arguments, as in the help: `<detector> <folder>`; the first ones that are not in brackets are required */
  operands: string;
  options: Record<string, Option>;
  /** what else the help says */
  notes?: string;
  run(args: Arguments): Promise<number>;
}

/** The parsed command line of one command. */
export class Arguments {
  constructor(
    readonly operands: string[],
    private readonly values: Record<string, string | boolean | undefined>
  ) {}

  text(option: string): string | undefined {
    const value = this.values[option];
    return typeof value === 'string' ? value : undefined;
  }

  flag(option: string): boolean {
    return this.values[option] === true;
  }

  number(option: string): number | undefined {
    const text = this.text(option);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value))
      throw new UsageError(`--${option} takes a number, not "${text}"`);
    return value;
  }

  choice<T extends string>(option: string, choices: readonly T[]): T | undefined {
    const text = this.text(option);
    if (text !== undefined && !(choices as readonly string[]).includes(text))
      throw new UsageError(`--${option} is one of ${choices.join(', ')}, not "${text}"`);
    return text as T | undefined;
  }
}

/** `<a> <b...> [c]`: at least two, of `...` any number, else at most three. */
function bounds(operands: string): { least: number; most: number } {
  const words = operands.split(' ').filter(Boolean);
  const least = words.filter(word => word.startsWith('<')).length;
  return { least, most: operands.includes('...') ? Infinity : words.length };
}

/** `--seed -1` as `--seed=-1`: a negative number is a value, which its option can then judge, and no option of its own. */
function withNegatives({ options }: Command, args: string[]): string[] {
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  const joined: string[] = [];
  for (const [i, arg] of args.entries()) {
    const before = joined.at(-1) ?? '';
    const takesIt = i < end && before.startsWith('--') && options[before.slice(2)]?.type === 'string';
    if (takesIt && /^-\.?\d/.test(arg)) joined.push(`${joined.pop()}=${arg}`);
    else joined.push(arg);
  }
  return joined;
}

/** @throws UsageError */
export function parse(command: Command, args: string[]): Arguments {
  const options = Object.fromEntries(Object.entries(command.options).map(([name, { type }]) => [name, { type }]));
  let parsed;
  try {
    parsed = parseArgs({ args: withNegatives(command, args), options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new UsageError((error as Error).message.split(/\. |\n/)[0]);
  }
  const { least, most } = bounds(command.operands);
  const given = parsed.positionals.length;
  if (given < least || given > most) {
    const what = given < least ? 'missing' : 'too many';
    throw new UsageError(`${what} arguments; expected: ${command.operands || 'none'}`);
  }
  if (parsed.positionals.some(operand => operand.trim() === ''))
    throw new UsageError(`an argument is empty; expected: ${command.operands}`);
  return new Arguments(parsed.positionals, parsed.values as Record<string, string | boolean | undefined>);
}

/** Two columns, the left one as wide as it needs. */
export function columns(rows: [string, string][]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join('\n');
}

export function helpOf(name: string, command: Command): string {
  const options = Object.entries(command.options).map(([option, { value, help }]): [string, string] => [
    `--${option}${value ? ` ${value}` : ''}`,
    help
  ]);
  const usage = ['goodparts', name, command.operands, options.length ? '[options]' : ''].filter(Boolean).join(' ');
  return [
    `usage: ${usage}`,
    command.summary,
    ...(options.length ? [`options:\n${columns(options)}`] : []),
    ...(command.notes ? [command.notes.trim()] : [])
  ].join('\n\n');
}
