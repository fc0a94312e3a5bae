import { GraphBuilder } from '../onnx/builder';

export interface SearchOptions {
  /** memory bank, row-major [M, D] */
  bank: Float32Array;
  dimensions: number;
  /** neighbours in the re-weighting; below 2: the image score is the largest patch distance */
  neighbours: number;
  /** distances stay squared (faiss) instead of true L2 */
  squared: boolean;
}

/** The norm that leaves a bank patch out of a search: it is nobody's nearest, and nobody's neighbour. */
export const LEFT_OUT = 1e30;

/** Columns of one MatMul: its result stays in the cache until the minimum over it is taken. */
const BLOCK = 2048;
/** More blocks than this would only make the graph large. */
const MAX_BLOCKS = 64;

/**
 * Nearest-neighbour search of one picture's patches in the memory bank, and the image score.
 * Inputs: `patches` float32 [P, D]; `norms` float32 [M] = ||b||^2 of each bank patch, where LEFT_OUT leaves a patch out.
 * Outputs: `distances` float32 [P], the distance to the nearest bank patch; `nearest` float32 [P], its
 * index in the bank (a float, as all outputs are); `score` float32 [1].
 *
 * Nearest: the smallest ||b||^2 - 2 q b, by one MatMul a block; its distance is then taken from the difference of the two patches,
 * as the sum loses digits where they are close. Score: p* = the patch with the largest distance s*, m* = its nearest bank patch,
 * N = the k bank patches nearest to m*; score = (1 - softmax over N of ||p* - n||, at m*) s*.
 * Source: Roth et al. (2022), eq. 6 and 7, in the form that anomalib computes.
 */
export function searchGraph(options: SearchOptions): Uint8Array {
  const { dimensions, squared } = options;
  const g = new GraphBuilder();
  const size = options.bank.length / dimensions;
  const patches = g.input('patches', 'float', ['P', dimensions]);
  const norms = g.input('norms', 'float', [size]);
  const bank = g.floats(options.bank, [size, dimensions]);
  const blocks = bankBlocks(g, options, norms);
  const nearest = nearestPatch(g, patches, blocks);
  const distances = distance(g, patches, g.op('Gather', [bank, nearest]), squared);
  g.output(distances, 'distances', 'float', ['P']);
  g.output(g.op('Cast', [nearest], { to: 1 }), 'nearest', 'float', ['P']);
  const top = g.op('ArgMax', [distances], { axis: 0, keepdims: 1 });
  const largest = g.op('Gather', [distances, top]);
  const neighbours = Math.min(options.neighbours, size);
  // among one neighbour the softmax is 1 and the weight 0; anomalib takes the plain distance then
  if (neighbours < 2) {
    g.output(largest, 'score', 'float', [1]);
    return g.build();
  }
  const fromNearest = relative(g, g.op('Gather', [bank, g.op('Gather', [nearest, top])]), blocks);
  const [relativeDistance, support] = g.ops(
    'TopK',
    [fromNearest, g.ints(neighbours)],
    { axis: 1, largest: 0, sorted: 1 },
    2
  );
  const row = (x: string): string => g.op('Squeeze', [x, g.ints(0)]);
  const toSupport = distance(g, g.op('Gather', [patches, top]), g.op('Gather', [bank, row(support)]), squared);
  // a bank patch that is left out is nobody's neighbour, even where too few others are there
  const present = g.op('Less', [row(relativeDistance), g.scalar(LEFT_OUT / 10)]);
  const neighbourhood = g.op('Where', [present, toSupport, g.scalar(-LEFT_OUT)]);
  const first = g.op('Gather', [g.op('Softmax', [neighbourhood], { axis: 0 }), g.ints(0)]);
  const second = g.op('Gather', [present, g.ints(1)]);
  const weight = g.op('Where', [second, g.op('Sub', [g.scalar(1), first]), g.scalar(1)]);
  g.output(g.op('Mul', [largest, weight]), 'score', 'float', [1]);
  return g.build();
}

interface Block {
  /** -2 * bank block, transposed: [D, m] */
  bank: string;
  norms: string;
  size: number;
}

function bankBlocks(g: GraphBuilder, { bank, dimensions }: SearchOptions, norms: string): Block[] {
  const size = bank.length / dimensions;
  const step = Math.max(BLOCK, Math.ceil(size / MAX_BLOCKS));
  const blocks: Block[] = [];
  for (let from = 0; from < size; from += step) {
    const count = Math.min(step, size - from);
    const transposed = new Float32Array(dimensions * count);
    for (let j = 0; j < count; j++)
      for (let d = 0; d < dimensions; d++) transposed[d * count + j] = -2 * bank[(from + j) * dimensions + d];
    blocks.push({
      bank: g.floats(transposed, [dimensions, count]),
      norms: g.op('Slice', [norms, g.ints(from), g.ints(from + count), g.ints(0)]),
      size: count
    });
  }
  return blocks;
}

/** ||b||^2 - 2 q b, [Q, m]: what is missing to the squared distance is the same for the whole row. */
function relativeToBlock(g: GraphBuilder, queries: string, block: Block): string {
  return g.op('Add', [g.op('MatMul', [queries, block.bank]), block.norms]);
}

/** The same to the whole bank, [Q, M]; for single queries. */
function relative(g: GraphBuilder, queries: string, blocks: Block[]): string {
  return g.op(
    'Concat',
    blocks.map(b => relativeToBlock(g, queries, b)),
    { axis: 1 }
  );
}

/** Index of the nearest bank patch of each query, int64 [Q]: the best of each block, then the best of these. */
function nearestPatch(g: GraphBuilder, queries: string, blocks: Block[]): string {
  const best = blocks.map(b => g.ops('TopK', [relativeToBlock(g, queries, b), g.ints(1)], { axis: 1, largest: 0 }, 2));
  const values = g.op(
    'Concat',
    best.map(([value]) => value),
    { axis: 1 }
  );
  const indices = g.op(
    'Concat',
    best.map(([, index], i) => g.op('Add', [index, g.ints(i * blocks[0].size)])),
    { axis: 1 }
  );
  const block = g.op('ArgMin', [values], { axis: 1, keepdims: 1 });
  return g.op('Squeeze', [g.op('GatherElements', [indices, block], { axis: 1 }), g.ints(1)]);
}

/** Distance of each row of `a` ([N, D], or [1, D] for all) to the same row of `b`, [N]. */
function distance(g: GraphBuilder, a: string, b: string, squared: boolean): string {
  const sum = g.op('ReduceSumSquare', [g.op('Sub', [a, b]), g.ints(1)], { keepdims: 0 });
  return squared ? sum : g.op('Sqrt', [sum]);
}

/** ||b||^2 of every bank patch, float32 [M]. */
export function bankNorms(bank: Float32Array, dimensions: number): Float32Array {
  const norms = new Float32Array(bank.length / dimensions);
  for (let i = 0; i < norms.length; i++) {
    let sum = 0;
    for (let d = i * dimensions; d < (i + 1) * dimensions; d++) sum += bank[d] * bank[d];
    norms[i] = sum;
  }
  return norms;
}
