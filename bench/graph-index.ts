// Graph indexes (HNSW) for comparison, where somebody has installed them: `npm i --no-save hnswlib-node usearch`. The engine does not use them.

/** One way to find the nearest bank patch of each query. */
export interface Competitor {
  name: string;
  buildS: number;
  /** query patches [N, D] row-major -> row of the bank for each */
  nearest(queries: Float32Array): number[];
}

interface Hnswlib {
  HierarchicalNSW: new (
    space: 'l2',
    dimensions: number
  ) => {
    initIndex(most: number, m: number, efConstruction: number): void;
    addPoint(point: number[], label: number): void;
    setEf(ef: number): void;
    searchKnn(point: number[], count: number): { neighbors: number[] };
  };
}

interface Usearch {
  Index: new (config: Record<string, string | number>) => {
    add(keys: BigUint64Array, vectors: Float32Array, threads: number): void;
    search(vectors: Float32Array, count: number, threads: number): { keys: BigUint64Array };
  };
}

/** Links of a node, candidates while building and while searching: at .99 of the nearest found for our patches. */
const [LINKS, WHILE_BUILDING, WHILE_SEARCHING] = [16, 128, 64];

function installed<T>(name: string): T | undefined {
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- by a name that need not be there
    return require(name) as T;
  } catch {
    return undefined;
  }
}

const rowsOf = (patches: Float32Array, dimensions: number): number[][] =>
  Array.from({ length: patches.length / dimensions }, (_, i) =>
    Array.from(patches.subarray(i * dimensions, (i + 1) * dimensions))
  );

/** What is installed, with the bank [N, D] built in. hnswlib-node takes one point a call, on one thread. */
export function graphIndexes(bank: Float32Array, dimensions: number, threads: number): Competitor[] {
  const found: Competitor[] = [];
  const hnswlib = installed<Hnswlib>('hnswlib-node');
  if (hnswlib) {
    const start = performance.now();
    const index = new hnswlib.HierarchicalNSW('l2', dimensions);
    index.initIndex(bank.length / dimensions, LINKS, WHILE_BUILDING);
    rowsOf(bank, dimensions).forEach((row, i) => index.addPoint(row, i));
    index.setEf(WHILE_SEARCHING);
    found.push({
      name: 'hnswlib-node',
      buildS: (performance.now() - start) / 1000,
      nearest: queries => rowsOf(queries, dimensions).map(query => index.searchKnn(query, 1).neighbors[0])
    });
  }
  const usearch = installed<Usearch>('usearch');
  if (usearch) {
    const start = performance.now();
    const index = new usearch.Index({
      dimensions,
      metric: 'l2sq',
      quantization: 'f32',
      connectivity: LINKS,
      expansion_add: WHILE_BUILDING,
      expansion_search: WHILE_SEARCHING
    });
    index.add(
      BigUint64Array.from({ length: bank.length / dimensions }, (_, i) => BigInt(i)),
      bank,
      threads
    );
    found.push({
      name: 'usearch',
      buildS: (performance.now() - start) / 1000,
      nearest: queries => Array.from(index.search(queries, 1, threads).keys, Number)
    });
  }
  return found;
}
