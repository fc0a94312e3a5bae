import { GraphBuilder } from '../onnx/builder';
import type { Preset } from '../presets';

/** The norm that leaves a bank patch out of a search: it is nobody's nearest, and nobody's neighbour. */
export const LEFT_OUT = 1e30;

/** How patches are measured and an image is scored. */
export interface Rating {
  /** neighbours in the re-weighting; below 2: the image score is the largest patch distance */
  neighbours: number;
  distance: Preset['distance'];
  score: Preset['score'];
}

/** Tensors of the memory bank: patches [M, D] and norms [M], of which only LEFT_OUT is looked at here. */
export interface Memory {
  bank: string;
  norms: string;
  size: number;
}

/** Nearest bank patch of each query: index int64 [Q] and squared distance [Q]. */
export interface Nearest {
  index: string;
  distance: string;
}

/**
 * Measures candidates that were found elsewhere. Inputs: `patches` float32 [P, D]; `candidates` int32 [P, k], indices into the bank;
 * `bank` float32 [M, D]; `norms` float32 [M]. Outputs as of `searchGraph`, but the score without re-weighting.
 */
export function rankGraph(size: number, dimensions: number, rating: Rating): Uint8Array {
  const g = new GraphBuilder();
  const patches = g.input('patches', 'float', ['P', dimensions]);
  const candidates = g.input('candidates', 'int32', ['P', 'k']);
  const memory = memoryInputs(g, size, dimensions);
  const { distances } = distancesOf(g, nearestOf(g, patches, candidates, memory), rating);
  g.output(plainScore(g, distances, rating), 'score', 'float', [1]);
  return g.build();
}

/**
 * The score of an image from its farthest patch. Inputs: `patch` float32 [1, D]; `nearest` int32 [1], its nearest bank patch; `around`
 * int32 [k], bank patches among which are the nearest ones to that; `largest` float32 [1], its distance; `bank` and `norms`. Output:
 * `score` float32 [1].
 */
export function weightGraph(size: number, dimensions: number, rating: Rating): Uint8Array {
  const g = new GraphBuilder();
  const patch = g.input('patch', 'float', [1, dimensions]);
  const nearest = g.input('nearest', 'int32', [1]);
  const around = g.input('around', 'int32', ['k']);
  const largest = g.input('largest', 'float', [1]);
  const memory = memoryInputs(g, size, dimensions);
  const m = g.op('Gather', [memory.bank, nearest]);
  g.output(weighted(g, { patch, nearest: m, around, largest }, memory, rating), 'score', 'float', [1]);
  return g.build();
}

function memoryInputs(g: GraphBuilder, size: number, dimensions: number): Memory {
  return { bank: g.input('bank', 'float', [size, dimensions]), norms: g.input('norms', 'float', [size]), size };
}

/** Makes `distances` and `nearest` outputs of the graph. */
export function distancesOf(g: GraphBuilder, found: Nearest, { distance }: Rating): { distances: string } {
  const distances = fromSquared(g, found.distance, distance);
  g.output(distances, 'distances', 'float', ['P']);
  g.output(g.op('Cast', [found.index], { to: 1 }), 'nearest', 'float', ['P']);
  return { distances };
}

/** The largest distance, or the mean of the largest ones, [1]. */
export function plainScore(g: GraphBuilder, distances: string, { score }: Rating): string {
  return score === 'max'
    ? g.op('ReduceMax', [distances, g.ints(0)], { keepdims: 1 })
    : meanOfTop(g, distances, score.top);
}

/** Whether the score is weighed: among one neighbour the softmax is 1 and the weight 0; anomalib takes the plain distance then. */
export const isWeighted = ({ neighbours, score }: Rating, size: number): boolean =>
  score === 'max' && Math.min(neighbours, size) > 1;

interface Farthest {
  /** p*, [1, D] */
  patch: string;
  /** m*, [1, D] */
  nearest: string;
  /** indices of bank patches among which are those nearest to m*, [k] */
  around: string;
  /** s*, [1] */
  largest: string;
}

/** (1 - softmax over N of ||p* - n||, at m*) s*, [1]; N = the `neighbours` bank patches nearest to m*. */
export function weighted(
  g: GraphBuilder,
  { patch, nearest, around, largest }: Farthest,
  { bank, norms, size }: Memory,
  rating: Rating
): string {
  const squared = g.op('Add', [differences(g, nearest, g.op('Gather', [bank, around])), penalty(g, norms, around)]);
  const count = g.ints(Math.min(rating.neighbours, size));
  const [gap, best] = g.ops('TopK', [squared, count], { axis: 0, largest: 0, sorted: 1 }, 2);
  const support = g.op('Gather', [bank, g.op('Gather', [around, best])]);
  const toSupport = fromSquared(g, differences(g, patch, support), rating.distance);
  // a bank patch that is left out is nobody's neighbour, even where too few others are there
  const present = g.op('Less', [gap, g.scalar(LEFT_OUT / 10)]);
  const neighbourhood = g.op('Where', [present, toSupport, g.scalar(-LEFT_OUT)]);
  const first = g.op('Gather', [g.op('Softmax', [neighbourhood], { axis: 0 }), g.ints(0)]);
  const second = g.op('Gather', [present, g.ints(1)]);
  const weight = g.op('Where', [second, g.op('Sub', [g.scalar(1), first]), g.scalar(1)]);
  return g.op('Mul', [largest, weight]);
}

/** Of each query's candidates, [Q, k], the nearest one that is not left out. */
export function nearestOf(g: GraphBuilder, queries: string, candidates: string, { bank, norms }: Memory): Nearest {
  const each = g.op('Unsqueeze', [queries, g.ints(1)]);
  const squared = differences(g, each, g.op('Gather', [bank, candidates]));
  const penalised = g.op('Add', [squared, penalty(g, norms, candidates)]);
  const best = g.op('ArgMin', [penalised], { axis: 1, keepdims: 1 });
  const pick = (x: string): string => g.op('Squeeze', [g.op('GatherElements', [x, best], { axis: 1 }), g.ints(1)]);
  return { index: pick(candidates), distance: pick(squared) };
}

function fromSquared(g: GraphBuilder, squared: string, distance: Preset['distance']): string {
  if (distance === 'squared') return squared;
  // between vectors of unit length, 1 - cosine is half the squared L2
  return distance === 'cosine' ? g.op('Mul', [squared, g.scalar(0.5)]) : g.op('Sqrt', [squared]);
}

/** Mean of the largest ones, of a `share` of all and of one at least, [1]. */
function meanOfTop(g: GraphBuilder, distances: string, share: number): string {
  const all = g.op('Cast', [g.op('Shape', [distances])], { to: 1 });
  const some = g.op('Cast', [g.op('Max', [g.op('Mul', [all, g.scalar(share)]), g.scalar(1)])], { to: 7 });
  const [largest] = g.ops('TopK', [distances, some], { axis: 0 }, 2);
  return g.op('ReduceMean', [largest, g.ints(0)], { keepdims: 1 });
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
