import { GraphBuilder } from '../onnx/builder';
import { CoarseBank, Filter, float32Filter, int8Filter } from './filter';

export interface SearchOptions {
  /** memory bank, row-major [M, D] */
  bank: Float32Array;
  dimensions: number;
  /** neighbours in the re-weighting; below 2: the image score is the largest patch distance */
  neighbours: number;
  /** distances stay squared (faiss) instead of true L2 */
  squared: boolean;
  /** finds the candidates, if given; else the bank does so itself */
  coarse?: CoarseBank;
}

/** The norm that leaves a bank patch out of a search: it is nobody's nearest, and nobody's neighbour. */
export const LEFT_OUT = 1e30;

/** Candidates of a coarse filter: from each block, and in all. */
const PER_BLOCK = 2;
const PER_QUERY = 4;
/** Candidates of a coarse filter for the neighbourhood of one bank patch. */
const WIDE = 64;

/**
 * Nearest-neighbour search of one picture's patches in the memory bank, and the image score.
 * Inputs: `patches` float32 [P, D]; `norms` float32 [M] = ||b||^2 of each bank patch (with a coarse bank: ||b - mean||^2), where
 * LEFT_OUT leaves a patch out; with a coarse bank also `bank` float32 [M, D], so that it is not copied.
 * Outputs: `distances` float32 [P], the distance to the nearest bank patch; `nearest` float32 [P], its
 * index in the bank (a float, as all outputs are); `score` float32 [1].
 *
 * Nearest: a filter finds a few candidates a patch; their distances are then taken from the difference of the two patches. This makes
 * up for a coarse filter, and for the float one's sum, which loses digits where patches are close. Score: p* = the patch with the
 * largest distance s*, m* = its nearest bank patch, N = the k bank patches nearest to m*; score = (1 - softmax over N of ||p* - n||,
 * at m*) s*.
 * Source: Roth et al. (2022), eq. 6 and 7, in the form that anomalib computes.
 */
export function searchGraph(options: SearchOptions): Uint8Array {
  const { dimensions, squared } = options;
  const g = new GraphBuilder();
  const size = options.bank.length / dimensions;
  const patches = g.input('patches', 'float', ['P', dimensions]);
  const norms = g.input('norms', 'float', [size]);
  const shape = [size, dimensions];
  const bank = options.coarse ? g.input('bank', 'float', shape) : g.floats(options.bank, shape);
  const filter = options.coarse
    ? int8Filter(g, options.coarse, norms)
    : float32Filter(g, options.bank, dimensions, norms);
  const memory = { bank, norms, size };
  const found = nearestOf(g, patches, candidates(g, patches, filter, size), memory);
  const distances = squared ? found.distance : g.op('Sqrt', [found.distance]);
  g.output(distances, 'distances', 'float', ['P']);
  g.output(g.op('Cast', [found.index], { to: 1 }), 'nearest', 'float', ['P']);
  const top = g.op('ArgMax', [distances], { axis: 0, keepdims: 1 });
  const largest = g.op('Gather', [distances, top]);
  const neighbours = Math.min(options.neighbours, size);
  // among one neighbour the softmax is 1 and the weight 0; anomalib takes the plain distance then
  if (neighbours < 2) {
    g.output(largest, 'score', 'float', [1]);
    return g.build();
  }
  const nearest = g.op('Gather', [bank, g.op('Gather', [found.index, top])]);
  const [gap, support] = nearestFew(g, nearest, filter, memory, neighbours);
  const fromTop = differences(g, g.op('Gather', [patches, top]), g.op('Gather', [bank, support]));
  const toSupport = squared ? fromTop : g.op('Sqrt', [fromTop]);
  // a bank patch that is left out is nobody's neighbour, even where too few others are there
  const present = g.op('Less', [gap, g.scalar(LEFT_OUT / 10)]);
  const neighbourhood = g.op('Where', [present, toSupport, g.scalar(-LEFT_OUT)]);
  const first = g.op('Gather', [g.op('Softmax', [neighbourhood], { axis: 0 }), g.ints(0)]);
  const second = g.op('Gather', [present, g.ints(1)]);
  const weight = g.op('Where', [second, g.op('Sub', [g.scalar(1), first]), g.scalar(1)]);
  g.output(g.op('Mul', [largest, weight]), 'score', 'float', [1]);
  return g.build();
}

interface Memory {
  bank: string;
  norms: string;
  size: number;
}

/** Nearest bank patch of each query: index int64 [Q] and squared distance [Q]. */
interface Nearest {
  index: string;
  distance: string;
}

/** The best ones of each block, and of all these the best: indices into the bank, int64 [Q, k]. */
function candidates(g: GraphBuilder, queries: string, filter: Filter, size: number): string {
  const some = (block: number): number => Math.min(filter.exact ? 1 : PER_BLOCK, size - block * filter.step);
  const best = filter
    .relative(queries)
    .map((block, i) => g.ops('TopK', [block, g.ints(some(i))], { axis: 1, largest: 0 }, 2));
  const concat = (parts: string[]): string => g.op('Concat', parts, { axis: 1 });
  const values = concat(best.map(([value]) => value));
  const indices = concat(best.map(([, index], i) => g.op('Add', [index, g.ints(i * filter.step)])));
  const [, places] = g.ops(
    'TopK',
    [values, g.ints(Math.min(filter.exact ? 1 : PER_QUERY, size))],
    { axis: 1, largest: 0 },
    2
  );
  return g.op('GatherElements', [indices, places], { axis: 1 });
}

/** Of each query's candidates, [Q, k], the nearest one that is not left out. */
function nearestOf(g: GraphBuilder, queries: string, candidates: string, { bank, norms }: Memory): Nearest {
  const each = g.op('Unsqueeze', [queries, g.ints(1)]);
  const squared = differences(g, each, g.op('Gather', [bank, candidates]));
  const penalised = g.op('Add', [squared, penalty(g, norms, candidates)]);
  const best = g.op('ArgMin', [penalised], { axis: 1, keepdims: 1 });
  const pick = (x: string): string => g.op('Squeeze', [g.op('GatherElements', [x, best], { axis: 1 }), g.ints(1)]);
  return { index: pick(candidates), distance: pick(squared) };
}

/** The bank patches nearest to one query, [1, D]: squared distances (LEFT_OUT and more where left out) and indices, both [k]. */
function nearestFew(
  g: GraphBuilder,
  query: string,
  filter: Filter,
  { bank, norms, size }: Memory,
  neighbours: number
): string[] {
  const most = filter.exact ? neighbours : Math.max(WIDE, 4 * neighbours);
  const all = g.op('Concat', filter.relative(query), { axis: 1 });
  const [, few] = g.ops('TopK', [all, g.ints(Math.min(size, most))], { axis: 1, largest: 0 }, 2);
  const indices = g.op('Squeeze', [few, g.ints(0)]);
  const squared = g.op('Add', [differences(g, query, g.op('Gather', [bank, indices])), penalty(g, norms, indices)]);
  const [gap, best] = g.ops('TopK', [squared, g.ints(neighbours)], { axis: 0, largest: 0, sorted: 1 }, 2);
  return [gap, g.op('Gather', [indices, best])];
}

/** LEFT_OUT for the bank patches that are left out, 0 for the others. */
function penalty(g: GraphBuilder, norms: string, indices: string): string {
  const out = g.op('Greater', [g.op('Gather', [norms, indices]), g.scalar(LEFT_OUT / 10)]);
  return g.op('Where', [out, g.scalar(LEFT_OUT), g.scalar(0)]);
}

/** Squared distances between vectors along the last axis, which goes. */
function differences(g: GraphBuilder, a: string, b: string): string {
  return g.op('ReduceSumSquare', [g.op('Sub', [a, b]), g.ints(-1)], { keepdims: 0 });
}
