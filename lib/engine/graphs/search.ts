import { GraphBuilder } from '../onnx/builder';
import { distancesOf, isWeighted, nearestOf, plainScore, Rating, weighted } from './rank';
import { CoarseBank, Filter, float32Filter, GROUP, int8Filter } from './filter';

export interface SearchOptions extends Rating {
  /** memory bank, row-major [M, D] */
  bank: Float32Array;
  dimensions: number;
  /** finds the candidates, if given; else the bank does so itself */
  coarse?: CoarseBank;
}

/** Candidates of a coarse filter. */
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
  const count = Math.min(filter.exact ? 1 : PER_QUERY, size);
  const best = filter.relative(queries).map((block, i) => {
    const { values, places } = filter.exact ? smallest(g, block, 1) : smallestInGroups(g, block, filter.step, count);
    return { values, indices: g.op('Add', [places, g.ints(i * filter.step)]) };
  });
  const concat = (parts: string[]): string => g.op('Concat', parts, { axis: 1 });
  const { places } = smallest(g, concat(best.map(({ values }) => values)), count);
  return g.op('GatherElements', [concat(best.map(({ indices }) => indices)), places], { axis: 1 });
}

interface Smallest {
  values: string;
  places: string;
}

/** The `count` smallest values of each row, [Q, count], and their columns. */
function smallest(g: GraphBuilder, rows: string, count: number): Smallest {
  const [values, places] = g.ops('TopK', [rows, g.ints(count)], { axis: 1, largest: 0 }, 2);
  return { values, places };
}

/**
 * As `smallest`, for rows of whole groups, in half the time: the smallest values lie in the groups with the smallest minima, and a minimum is
 * taken much faster than a place.
 */
function smallestInGroups(g: GraphBuilder, rows: string, length: number, count: number): Smallest {
  const grouped = g.op('Reshape', [rows, g.ints(-1, length / GROUP, GROUP)]);
  const groups = smallest(g, g.op('ReduceMin', [grouped, g.ints(2)], { keepdims: 0 }), count).places;
  const members = g.op('GatherND', [grouped, g.op('Unsqueeze', [groups, g.ints(2)])], { batch_dims: 1 });
  const { values, places } = smallest(g, g.op('Reshape', [members, g.ints(-1, count * GROUP)]), count);
  const groupOf = g.op('GatherElements', [groups, g.op('Div', [places, g.ints(GROUP)])], { axis: 1 });
  const inGroup = g.op('Mod', [places, g.ints(GROUP)]);
  return { values, places: g.op('Add', [g.op('Mul', [groupOf, g.ints(GROUP)]), inGroup]) };
}

/** Bank patches among which are the `neighbours` nearest ones to one of them, [1, D]: indices [k]. */
function around(g: GraphBuilder, query: string, filter: Filter, size: number, neighbours: number): string {
  const most = filter.exact ? neighbours : Math.max(WIDE, 4 * neighbours);
  const all = g.op('Concat', filter.relative(query), { axis: 1 });
  const [, few] = g.ops('TopK', [all, g.ints(Math.min(size, most))], { axis: 1, largest: 0 }, 2);
  return g.op('Squeeze', [few, g.ints(0)]);
}
