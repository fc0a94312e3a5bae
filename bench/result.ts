/** One measured quantity over all rounds. */
export interface Figure {
  median: number;
  p5: number;
  p95: number;
  /** values it is taken of */
  n: number;
}

export type Cell = string | number | boolean | Figure | null;
/** One line of a table; the report knows what its keys mean. */
export type Row = Record<string, Cell | undefined>;

export interface SectionResult {
  rows: Row[];
  /** what has to be known to read the rows */
  notes?: string[];
}

export interface BenchResult {
  date: string;
  machine: { cpu: string; cores: number; memoryGiB: number; system: string; features: string[] };
  versions: Record<string, string>;
  /** tasks that ran or waited for a core when the bench started; far above 0, the figures are those of a busy machine */
  loadBefore: number;
  threads: number;
  rounds: number;
  seconds: number;
  /** a quick run proves that everything works; its figures mean nothing */
  quick: boolean;
  pictures: string;
  sections: Record<string, SectionResult & { seconds: number; error?: string }>;
}
