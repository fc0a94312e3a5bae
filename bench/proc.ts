import { execFileSync } from 'node:child_process';
import fs from 'node:fs';

/** What a process has used, by /proc; Linux only. */
export interface Usage {
  /** processor time of all its threads since it started, milliseconds */
  cpu: number;
  /** memory that it holds, MB */
  rss: number;
}

/** The clock ticks in which /proc counts time. */
const TICKS = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
const PAGE = Number(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' }));

const fields = (pid: number): string[] => {
  const text = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  // the name in brackets may hold anything
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
};

export function usage(pid: number): Usage {
  const stat = fields(pid);
  return { cpu: ((Number(stat[11]) + Number(stat[12])) * 1000) / TICKS, rss: (Number(stat[21]) * PAGE) / 1e6 };
}

/** The processes that a process has started and that still run. */
export function children(pid: number): number[] {
  const all = fs.readdirSync('/proc').filter(entry => /^\d+$/.test(entry));
  return all.map(Number).filter(other => {
    try {
      return Number(fields(other)[1]) === pid;
    } catch {
      return false; // gone meanwhile
    }
  });
}
