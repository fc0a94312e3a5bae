import type { GraphBuilder } from '../onnx/builder';
import { LEFT_OUT, type Memory } from './rank';
import { rotate, Rotation } from './rotation';

/** What is compared to find the nearest bank patches: ||b||^2 - 2 q b, as ||q||^2 is the same for the whole row. */
export interface Filter {
  /** Values of [Q, D] queries, one [Q, m] tensor a block of the bank; `step` patches a block, in the last one what is left. */
  relative(queries: string): string[];
  step: number;
  /** whether the best one is the nearest patch, up to rounding; else it is among the best few */
  exact: boolean;
}

/** The bank in 8-bit integers, centred and rotated: levels[d, i] * scales[i] is about rotated(b_i - mean)[d]. */
export interface CoarseBank {
  blocks: CoarseBlock[];
  /** M */
  size: number;
  dimensions: number;
  rotation: Rotation;
}

/** `coarseStep` patches of the bank; in the last block what is left, filled up with patches that are nobody's nearest. */
export interface CoarseBlock {
  /** [D, m], as the product takes them */
  levels: Int8Array;
  /** [m] */
  scales: Float32Array;
}

/** Patches in a coarse block at most. */
const LARGEST_BLOCK = 8192;
/** A coarse block is so many groups of as many patches: of each the smallest value is taken first. */
export const GROUP = 32;
/** The norm of what fills a block up: larger than LEFT_OUT, as even a patch that is left out comes before it. */
const FILLED_UP = 10 * LEFT_OUT;

/** Patches in one float product: its result stays in the cache until the minimum over it is taken. */
const COLUMNS = 2048;
/** More blocks than this would only make the graph large. */
const MAX_BLOCKS = 64;

/**
 * Exact up to rounding: one float32 MatMul a block. `bank` is [M, D]; `norms` ||b||^2. ONNX Runtime turns the blocks when it loads the
 * graph, not at each run.
 */
export function float32Filter(g: GraphBuilder, { bank, norms, size }: Memory): Filter {
  const step = Math.max(COLUMNS, Math.ceil(size / MAX_BLOCKS));
  const blocks = blocksOf(size, step).map(([from, count]) => ({
    bank: g.op('Mul', [g.op('Transpose', [slice(g, bank, from, count)], { perm: [1, 0] }), g.scalar(-2)]),
    norms: slice(g, norms, from, count)
  }));
  return {
    step,
    exact: true,
    relative: queries => blocks.map(b => g.op('Add', [g.op('MatMul', [queries, b.bank]), b.norms]))
  };
}

/**
 * Products of 8-bit integers, several times faster on processors with instructions for them. `norms` is ||b - mean||^2. Bank patches
 * have a scale each, the queries of a picture share one, rounded anew in each picture.
 */
export function int8Filter(g: GraphBuilder, coarse: CoarseBank, norms: string): Filter {
  const { dimensions, rotation } = coarse;
  const step = coarse.blocks[0].scales.length;
  const fill = coarse.blocks.length * step - coarse.size;
  const filled = g.op('Pad', [norms, g.ints(0, fill), g.scalar(FILLED_UP)]);
  const blocks = coarse.blocks.map(({ levels, scales }, i) => ({
    levels: g.int8s(levels, [dimensions, step]),
    scales: g.floats(
      scales.map(s => -2 * s),
      [step]
    ),
    zeros: g.int8s(new Int8Array(step), [step]),
    norms: slice(g, filled, i * step, step)
  }));
  return {
    step,
    exact: false,
    relative(queries) {
      const [q, scale, zero] = g.ops('DynamicQuantizeLinear', [rotate(g, queries, rotation)], {}, 3);
      return blocks.map(b => g.contrib('MatMulIntegerToFloat', [q, b.levels, scale, b.scales, zero, b.zeros, b.norms]));
    }
  };
}

/** Patches in a coarse block: all of a bank, in few parts of equal size. */
export function coarseStep(size: number): number {
  return GROUP * Math.ceil(size / Math.ceil(size / LARGEST_BLOCK) / GROUP);
}

/** [first patch, number of patches] of each block. */
function blocksOf(size: number, step: number): [number, number][] {
  return Array.from({ length: Math.ceil(size / step) }, (_, i) => [i * step, Math.min(step, size - i * step)]);
}

/** `count` rows from `from` on. */
function slice(g: GraphBuilder, rows: string, from: number, count: number): string {
  return g.op('Slice', [rows, g.ints(from), g.ints(from + count), g.ints(0)]);
}
