import { Presets, SingleBar } from 'cli-progress';

/** Results go to stdout, and nothing else does. */
export const print = (text: string) => void process.stdout.write(`${text}\n`);
export const printJson = (value: unknown) => print(JSON.stringify(value));
/** What is said on the side goes to stderr. */
export const note = (text: string) => void process.stderr.write(`${text}\n`);

/** Rows with aligned columns; numbers, and their headings, to the right. */
export function table(head: string[], rows: (string | number)[][]): string {
  const cells = [head, ...rows.map(row => row.map(String))];
  const widths = head.map((_, c) => Math.max(...cells.map(row => row[c].length)));
  const right = head.map((_, c) => rows.length > 0 && rows.every(row => typeof row[c] === 'number' || row[c] === '-'));
  return cells
    .map(row =>
      row
        .map((cell, c) => (right[c] ? cell.padStart(widths[c]) : cell.padEnd(widths[c])))
        .join('  ')
        .trimEnd()
    )
    .join('\n');
}

/** A progress bar for each stage of a task, on a terminal; silent anywhere else. */
export class Progress {
  private bar: SingleBar | null = null;
  private stage = '';

  readonly report = ({ stage, done, total }: { stage: string; done: number; total: number }): void => {
    if (!process.stderr.isTTY) return;
    if (stage !== this.stage) {
      this.stop();
      this.stage = stage;
      const format = '{stage} {bar} {value}/{total} | {eta_formatted} left';
      const options = { format, stream: process.stderr, clearOnComplete: true, gracefulExit: false };
      this.bar = new SingleBar(options, Presets.shades_classic);
      this.bar.start(total, done, { stage: stage.padEnd(11) });
    }
    this.bar?.setTotal(total);
    this.bar?.update(done);
  };

  /** A line on stderr that the bar does not write over. */
  readonly note = (text: string): void => {
    this.stop();
    note(text);
  };

  readonly stop = (): void => {
    this.bar?.stop();
    this.bar = null;
    this.stage = '';
  };
}
