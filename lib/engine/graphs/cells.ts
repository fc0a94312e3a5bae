import { GraphBuilder } from '../onnx/builder';

/**
 * The `count` rows of a set nearest to each query; the set is given when the graph runs, as every cell of a bank has its own.
 * Inputs: `queries` float32 [Q, D]; `rows` float32 [M, D], M >= `count`; `norms` float32 [M] = ||row||^2.
 * Outputs: `values` float32 [Q, count] = ||row||^2 - 2 query row, nearest first (what is missing to the squared distance is the same
 * for the whole query); `indices` float32 [Q, count] into `rows`, exact below 2^24.
 */
export function nearestRowsGraph(dimensions: number, count: number): Uint8Array {
  const g = new GraphBuilder();
  const queries = g.input('queries', 'float', ['Q', dimensions]);
  const rows = g.input('rows', 'float', ['M', dimensions]);
  const norms = g.input('norms', 'float', ['M']);
  const scaled = g.op('Mul', [queries, g.scalar(-2)]);
  const relative = g.op('Gemm', [scaled, rows, norms], { transB: 1 });
  const [values, indices] = g.ops('TopK', [relative, g.ints(count)], { axis: 1, largest: 0, sorted: 1 }, 2);
  g.output(values, 'values', 'float', ['Q', count]);
  g.output(g.op('Cast', [indices], { to: 1 }), 'indices', 'float', ['Q', count]);
  return g.build();
}
