import { isWeighted, LEFT_OUT, Rating, rankGraph, weightGraph } from './graphs/rank';
import type { Distances } from './head';
import { Neighbours } from './neighbours';
import { argmax } from './pairs';
import type { AnyData, Runtime, Session } from './runtime';
import type { Arrays } from './version';

/** Candidates of a patch that are measured: their order is known up to rounding. */
const CANDIDATES = 2;

/** Search in a large bank: an index names candidates, two small graphs measure them and weigh the score. */
export class LargeSearch {
  private constructor(
    private readonly index: Neighbours,
    private readonly rank: Session,
    /** undefined where the score is not weighed */
    private readonly weight: Session | undefined,
    private readonly bank: Float32Array,
    private readonly dimensions: number
  ) {}

  /** @param arrays those of the index, where a version has them; else it is built, which takes seconds */
  static async create(
    runtime: Runtime,
    bank: Float32Array,
    dimensions: number,
    rating: Rating,
    arrays: Arrays = {}
  ): Promise<LargeSearch> {
    const size = bank.length / dimensions;
    const index = arrays['bank-cells']
      ? await Neighbours.load(runtime, bank, dimensions, arrays)
      : await Neighbours.build(runtime, bank, dimensions);
    const rank = await runtime.session(rankGraph(size, dimensions, rating));
    const weight = isWeighted(rating, size) ? await runtime.session(weightGraph(size, dimensions, rating)) : undefined;
    return new LargeSearch(index, rank, weight, bank, dimensions);
  }

  arrays(): Arrays {
    return this.index.arrays();
  }

  async search(patches: Float32Array, leftOut?: Int32Array): Promise<Distances> {
    const count = patches.length / this.dimensions;
    const candidates = await this.index.candidates(patches, CANDIDATES, leftOut);
    const memory = this.memory(leftOut);
    const { distances, nearest, score } = await this.rank.run({
      ...memory,
      patches: { data: patches, dims: [count, this.dimensions] },
      candidates: { data: candidates, dims: [count, CANDIDATES] }
    });
    const found = { distances: distances.data, nearest: nearest.data };
    if (!this.weight) return { ...found, score: score.data[0] };
    const top = argmax(found.distances);
    const around = await this.index.around(this.row(this.bank, found.nearest[top]), leftOut);
    const weighed = await this.weight.run({
      ...memory,
      patch: { data: this.row(patches, top), dims: [1, this.dimensions] },
      nearest: { data: Int32Array.of(found.nearest[top]), dims: [1] },
      around: { data: around, dims: [around.length] },
      largest: { data: Float32Array.of(found.distances[top]), dims: [1] }
    });
    return { ...found, score: weighed.score.data[0] };
  }

  async release(): Promise<void> {
    await Promise.all([this.index.release(), this.rank.release(), this.weight?.release()]);
  }

  private memory(leftOut?: Int32Array): Record<string, AnyData> {
    const size = this.bank.length / this.dimensions;
    const norms = new Float32Array(size);
    leftOut?.forEach(i => (norms[i] = LEFT_OUT));
    return { bank: { data: this.bank, dims: [size, this.dimensions] }, norms: { data: norms, dims: [size] } };
  }

  private row(rows: Float32Array, index: number): Float32Array {
    return rows.subarray(index * this.dimensions, (index + 1) * this.dimensions);
  }
}
