import type { BenchResult, Cell, Figure, Row, SectionResult } from '../result';
import { COLUMNS } from './columns';

export const isFigure = (cell: Cell | undefined): cell is Figure => typeof cell === 'object' && cell !== null;

const grouped = (x: number): string =>
  x.toLocaleString('en-US', Math.abs(x) < 1000 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 0 });

export function textOf(cell: Cell | undefined): string {
  if (cell === null || cell === undefined) return '';
  if (typeof cell === 'boolean') return cell ? 'yes' : 'no';
  if (typeof cell === 'number') return cell !== 0 && Math.abs(cell) < 1e-3 ? cell.toExponential(1) : grouped(cell);
  if (!isFigure(cell)) return cell;
  const spread = cell.n > 1 ? ` (${grouped(cell.p5)} to ${grouped(cell.p95)})` : '';
  return grouped(cell.median) + spread;
}

/** The columns that at least one row fills. */
function columnsOf(name: string, rows: Row[]): [key: string, title: string][] {
  return Object.entries(COLUMNS[name] ?? {}).filter(([key]) => rows.some(row => textOf(row[key]) !== ''));
}

/** A section as a table in Markdown, with its notes; or why there is none. */
export function table(name: string, section: SectionResult & { error?: string }): string {
  const { rows, notes = [], error } = section;
  const columns = columnsOf(name, rows);
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
  const counts = [...new Set(rows.flatMap(row => Object.values(row).filter(isFigure)).map(figure => figure.n))];
  const lines = rows.length
    ? [
        line(columns.map(([, title]) => title)),
        line(columns.map(() => '---')),
        ...rows.map(row => line(columns.map(([key]) => textOf(row[key])))),
        '',
        ...(counts.some(n => n > 1)
          ? [
              `Median (5 to 95 %) of ${counts.sort((a, b) => a - b).join(', ')} values; a number alone is a single value.`
            ]
          : [])
      ]
    : [];
  const failed = error === undefined ? [] : [`This section failed: ${error.split('\n')[0]}`];
  return [...lines, ...failed, ...notes.map(note => `- ${note}`)].join('\n').trim();
}

/** For the console: one line a row. */
export function describe(name: string, section: SectionResult & { seconds: number; error?: string }): string {
  const columns = columnsOf(name, section.rows);
  const lines = section.rows.map(row =>
    columns
      .filter(([key]) => textOf(row[key]) !== '')
      .map(([key, title]) => `${title} ${textOf(row[key])}`)
      .join('; ')
  );
  const failed = section.error === undefined ? [] : [`FAILED: ${section.error}`];
  return [`\n${name} (${section.seconds} s)`, ...lines, ...failed, ...(section.notes ?? [])].join('\n  ');
}

export function describeMachine(result: BenchResult): string {
  const { cpu, cores, memoryGiB, system, features } = result.machine;
  const versions = Object.entries(result.versions).map(([name, version]) => `${name} ${version}`);
  return [
    `${result.date}: ${cpu}, ${cores} cores${features.length ? ` (${features.join(', ')})` : ''}, ${memoryGiB} GiB, ${system}.`,
    `${versions.join(', ')}.`,
    `${result.threads} threads for everyone; ${result.rounds} rounds, in turns. Pictures: ${result.pictures}.`,
    `Load before the run: ${result.loadBefore}.`
  ].join('\n');
}
