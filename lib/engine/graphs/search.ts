import { GraphBuilder } from '../onnx/builder';
import { distancesOf, isWeighted, nearestOf, plainScore, Rating, weighted } from './rank';
import { CoarseBank, Filter, float32Filter, int8Filter } from './filter';

export interface SearchOptions extends Rating {
  /** memory bank, row-major [M, D] */
  bank: Float32Array;
  dimensions: number;
  /** finds the candidates, if given; else the bank does so itself */
  coarse?: CoarseBank;
}

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
 * at m*) s*. Or the mean of the largest distances (AnomalyDINO, Damm et al. 2025).
 * Source: Roth et al. (2022), eq. 6 and 7, in the form that anomalib computes.
 */
export function searchGraph(options: SearchOptions): Uint8Array {
  const { dimensions } = options;
  const g = new GraphBuilder();
  const size = options.bank.length / dimensions;
  const patches = g.input('patches', 'float', ['P', dimensions]);
  const norms = g.input('norms', 'float', [size]);
  const shape = [size, dimensions];
  const bank = options.coarse ? g.input('bank', 'float', shape) : g.floats(options.bank, shape);
  const memory = { bank, norms, size };
  const filter = options.coarse ? int8Filter(g, options.coarse, norms) : float32Filter(g, memory);
  const found = nearestOf(g, patches, candidates(g, patches, filter, size), memory);
  const { distances } = distancesOf(g, found, options);
  if (!isWeighted(options, size)) {
    g.output(plainScore(g, distances, options), 'score', 'float', [1]);
    return g.build();
  }
  const top = g.op('ArgMax', [distances], { axis: 0, keepdims: 1 });
  const nearest = g.op('Gather', [bank, g.op('Gather', [found.index, top])]);
  const farthest = {
    patch: g.op('Gather', [patches, top]),
    nearest,
    around: around(g, nearest, filter, size, options.neighbours),
    largest: g.op('Gather', [distances, top])
  };
  g.output(weighted(g, farthest, memory, options), 'score', 'float', [1]);
  return g.build();
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

/** Bank patches among which are the `neighbours` nearest ones to one of them, [1, D]: indices [k]. */
function around(g: GraphBuilder, query: string, filter: Filter, size: number, neighbours: number): string {
  const most = filter.exact ? neighbours : Math.max(WIDE, 4 * neighbours);
  const all = g.op('Concat', filter.relative(query), { axis: 1 });
  const [, few] = g.ops('TopK', [all, g.ints(Math.min(size, most))], { axis: 1, largest: 0 }, 2);
  return g.op('Squeeze', [few, g.ints(0)]);
}
