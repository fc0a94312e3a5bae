import type { BenchResult, Cell, Row } from '../result';
import { isFigure } from './text';

/** A drawing of one section: the lines that it needs, and how they are drawn. */
interface Plot {
  section: string;
  title: string;
  draw(rows: Row[]): Datum[];
  spec(data: Datum[]): object;
}

type Datum = Record<string, string | number>;

/** Grey that reads on white and on black; fills likewise. */
const GREY = '#7a7a7a';
const COLOURS = ['#00937c', '#c9791f', '#7f7fd5', '#b25f8c', '#8a8a8a', '#4f8fc0'];
const OURS = 'Goodparts';

const middle = (cell: Cell | undefined): number | undefined =>
  isFigure(cell) ? cell.median : typeof cell === 'number' ? cell : undefined;

function figure(cell: Cell | undefined): { median: number; p5: number; p95: number } {
  const median = middle(cell)!;
  return isFigure(cell) ? cell : { median, p5: median, p95: median };
}

/** One datum for each row that has the figure. */
function bars(rows: Row[], key: string, panel: (row: Row) => string): Datum[] {
  const drawn = rows.filter(row => middle(row[key]) !== undefined);
  return drawn.map(row => {
    const { median, p5, p95 } = figure(row[key]);
    // a time counts only where the result is the same
    const system = String(row.system) + (String(row.results).startsWith('not') ? ', not equal' : '');
    return { panel: panel(row), system, value: median, low: p5, high: p95 };
  });
}

const inOrder = (data: Datum[], key: string): (string | number)[] => [...new Set(data.map(d => d[key]))];

/** Colours of the systems: the first is ours. */
const colour = (data: Datum[]) => {
  const others = inOrder(data, 'system').filter(system => system !== OURS);
  return { field: 'system', type: 'nominal', legend: null, scale: { domain: [OURS, ...others], range: COLOURS } };
};

/** A panel for each backbone or kind of bank, a bar for each system, its spread as a line, its median beside it. */
function barChart(data: Datum[], unit: string, logarithmic = false): object {
  const scale = logarithmic ? { type: 'log', nice: true } : { zero: true };
  // a bar on a logarithmic axis needs somewhere to start
  const base = logarithmic ? 10 ** Math.floor(Math.log10(Math.min(...data.map(d => Number(d.value))))) : 0;
  const y = { field: 'system', type: 'nominal', sort: inOrder(data, 'system'), title: null };
  const most = Math.max(...data.map(d => Number(d.high)));
  const x = {
    field: 'value',
    type: 'quantitative',
    title: unit,
    scale: { ...scale, domain: [base, most * (logarithmic ? 3 : 1.15)] }
  };
  return {
    data: { values: data.map(d => ({ ...d, base })) },
    facet: { row: { field: 'panel', type: 'nominal', sort: inOrder(data, 'panel'), title: null } },
    spec: {
      width: 430,
      height: { step: 20 },
      layer: [
        { mark: { type: 'bar', height: 12 }, encoding: { y, x, x2: { field: 'base' }, color: colour(data) } },
        {
          mark: { type: 'rule', strokeWidth: 1.5, color: GREY },
          encoding: { y, x: { ...x, field: 'low' }, x2: { field: 'high' } }
        },
        {
          mark: { type: 'text', align: 'left', dx: 6, color: GREY },
          encoding: { y, x: { ...x, field: 'high' }, text: { field: 'value', type: 'quantitative', format: ',.3~r' } }
        }
      ]
    },
    spacing: 10,
    resolve: { scale: { y: 'independent' } }
  };
}

interface Line {
  x: string;
  /** key of the row, and what the line is called */
  lines: Record<string, string>;
  titles: [x: string, y: string];
}

/** A datum for each row and line; rows without one of the figures leave it out. */
function points(rows: Row[], { x, lines }: Line): Datum[] {
  return Object.entries(lines).flatMap(([key, system]) =>
    rows.flatMap(row => {
      const at = middle(row[x]);
      if (at === undefined || middle(row[key]) === undefined) return [];
      const { median, p5, p95 } = figure(row[key]);
      return [{ panel: '', system, x: at, value: median, low: p5, high: p95 }];
    })
  );
}

function lineLayers(titles: [string, string], systems: string[]): object[] {
  const x = {
    field: 'x',
    type: 'quantitative',
    title: titles[0],
    scale: { type: 'log' },
    axis: { format: '~s', tickCount: 4 }
  };
  const y = {
    field: 'value',
    type: 'quantitative',
    title: titles[1],
    scale: { type: 'log', nice: true },
    axis: { format: '~s', tickCount: 4 }
  };
  const color = {
    field: 'system',
    type: 'nominal',
    title: null,
    scale: { domain: systems, range: COLOURS },
    legend: systems.length > 1 ? { orient: 'top' } : null
  };
  return [
    {
      mark: { type: 'rule', strokeWidth: 1.5 },
      encoding: { x, y: { ...y, field: 'low' }, y2: { field: 'high' }, color }
    },
    { mark: { type: 'line', point: { size: 40, filled: true } }, encoding: { x, y, color } }
  ];
}

const growthLines: [key: string, title: string][] = [
  ['detectorMb', 'detector, MB'],
  ['scoreMs', 'score, ms'],
  ['peakMb', 'peak of the fit, MB'],
  ['seconds', 'fit, s']
];

/** Those of the size that most pictures were fitted at: a line joins what can be compared. */
const oneSize = (rows: Row[]): Row[] => {
  const most = rows.reduce((a, b) => (Number(b.images) > Number(a.images) ? b : a));
  return rows.filter(row => row.size === most.size);
};

const bankLines = {
  x: 'bank',
  lines: { wholeMs: 'whole bank', cellsMs: 'in cells' },
  titles: ['patches in the bank', 'ms']
} satisfies Line;

/** What is drawn, by the name of its file. */
export const PLOTS: Record<string, Plot> = {
  score: {
    section: 'score',
    title: 'One picture, JPEG to score and map, ms',
    draw: rows => bars(rows, 'ms', row => String(row.backbone)),
    spec: data => barChart(data, 'ms')
  },
  search: {
    section: 'search',
    title: 'Search of one picture’s patches, exact, ms',
    draw: rows => {
      const largest = (row: Row): boolean =>
        row.queries === 1024 &&
        !rows.some(
          r =>
            r.dimensions === row.dimensions &&
            r.system === row.system &&
            r.queries === 1024 &&
            Number(r.bank) > Number(row.bank)
        );
      return bars(rows.filter(largest), 'ms', row => `${String(row.dimensions)} dimensions`);
    },
    spec: data => barChart(data, 'ms')
  },
  'fit-time': {
    section: 'fit',
    title: 'Fit, seconds (logarithmic)',
    draw: rows => bars(rows, 'seconds', row => String(row.backbone)),
    spec: data => barChart(data, 's', true)
  },
  'fit-memory': {
    section: 'fit',
    title: 'Fit, largest memory of the process, MB',
    draw: rows => bars(rows, 'peakMb', row => String(row.backbone)),
    spec: data => barChart(data, 'MB')
  },
  growth: {
    section: 'growth',
    title: 'How a detector grows with the pictures it learns from',
    draw: rows =>
      growthLines.flatMap(([key, title]) =>
        points(oneSize(rows), { x: 'images', lines: { [key]: title }, titles: ['', ''] })
      ),
    spec: data => ({
      data: { values: data },
      columns: 2,
      resolve: { scale: { color: 'independent' } },
      concat: growthLines.map(([, title]) => ({
        width: 210,
        height: 130,
        transform: [{ filter: { field: 'system', equal: title } }],
        layer: lineLayers(['pictures', title], [title])
      }))
    })
  },
  banks: {
    section: 'banks',
    title: 'Search by the size of the bank, ms',
    draw: rows => points(rows, bankLines),
    spec: data => ({
      data: { values: data },
      width: 430,
      height: 220,
      layer: lineLayers(bankLines.titles, Object.values(bankLines.lines))
    })
  }
};

const CONFIG = {
  background: null,
  // no font of its own: what the reader has
  font: 'sans-serif',
  view: { stroke: null },
  title: { color: GREY, anchor: 'start', fontSize: 14 },
  axis: {
    labelColor: GREY,
    titleColor: GREY,
    tickColor: GREY,
    domainColor: GREY,
    gridColor: GREY,
    gridOpacity: 0.25,
    labelLimit: 320
  },
  legend: { labelColor: GREY, titleColor: GREY },
  header: {
    labelColor: GREY,
    labelAngle: 0,
    labelAlign: 'left',
    labelOrient: 'top',
    labelAnchor: 'start',
    labelFontSize: 12,
    labelFontWeight: 'bold'
  }
};

/** The plots of a result as SVG, by the name of their file; those without data are left out. */
export async function drawPlots(result: BenchResult): Promise<Map<string, string>> {
  // both are ES modules
  const [vega, { compile }] = await Promise.all([import('vega'), import('vega-lite')]);
  const drawn = new Map<string, string>();
  for (const [name, plot] of Object.entries(PLOTS)) {
    const data = plot.draw(result.sections[plot.section]?.rows ?? []);
    if (!data.length) continue;
    const title = {
      text: plot.title,
      subtitle: `${result.machine.cpu}, ${result.threads} threads, ${result.date}`,
      subtitleColor: GREY
    };
    const whole = { ...plot.spec(data), title, padding: 8, config: CONFIG } as unknown as Parameters<typeof compile>[0];
    // its warnings are about panels of different heights, which are meant
    const view = new vega.View(vega.parse(compile(whole, { logger: vega.logger(vega.Error) }).spec), {
      renderer: 'none'
    });
    drawn.set(name, await view.toSVG());
  }
  return drawn;
}
