import type { Tape, Shape, Value } from './tape';
import { sizeOf } from './tape';

/** One tensor that a network learns; all of them lie one after the other in one vector. */
export interface Parameter {
  readonly name: string;
  readonly shape: Shape;
  /** numbers before it in the vector */
  readonly at: number;
  /** numbers that one output of its layer is made of */
  readonly fanIn: number;
}

/** What a network learns, layer by layer. */
export class Parameters {
  readonly list: Parameter[] = [];
  size = 0;

  /** A convolution's kernel [O, C, kh, kw] and its bias [O], as `<name>.weight` and `<name>.bias`. */
  conv(name: string, channels: number, depth: number, kh: number, kw = kh): this {
    const fanIn = depth * kh * kw;
    this.add(`${name}.weight`, [channels, depth, kh, kw], fanIn);
    this.add(`${name}.bias`, [channels], fanIn);
    return this;
  }

  /** Uniform in +-1 / sqrt(fan-in), as PyTorch starts its convolutions. [P] */
  initial(random: () => number): Float32Array {
    const vector = new Float32Array(this.size);
    for (const { shape, at, fanIn } of this.list) {
      const bound = 1 / Math.sqrt(fanIn);
      for (let i = at; i < at + sizeOf(shape); i++) vector[i] = (2 * random() - 1) * bound;
    }
    return vector;
  }

  /** The parameters cut out of a vector [P] in the graph. */
  split(tape: Tape, vector: string): Weights {
    const { g } = tape;
    const sizes = g.ints(...this.list.map(p => sizeOf(p.shape)));
    const parts = g.ops('Split', [vector, sizes], { axis: 0 }, this.list.length);
    return new Map(
      this.list.map(({ name, shape }, i) => [
        name,
        tape.value(g.op('Reshape', [parts[i], g.ints(...shape)]), shape, true)
      ])
    );
  }

  /** The parameters as constants of the graph: of a network that learns no more. */
  constants(tape: Tape, vector: Float32Array): Weights {
    return new Map(
      this.list.map(({ name, shape, at }) => {
        const values = vector.subarray(at, at + sizeOf(shape));
        return [name, tape.value(tape.g.floats(values, [...shape]), shape)];
      })
    );
  }

  /** The gradients as one vector [P] in the graph. */
  gradients(tape: Tape, weights: Weights): string {
    const { g } = tape;
    const flat = this.list.map(({ name }) => g.op('Reshape', [tape.gradient(weights.get(name)!), g.ints(-1)]));
    return g.op('Concat', flat, { axis: 0 });
  }

  private add(name: string, shape: Shape, fanIn: number): void {
    this.list.push({ name, shape, at: this.size, fanIn });
    this.size += sizeOf(shape);
  }
}

/** The values of parameters by their names. */
export type Weights = ReadonlyMap<string, Value>;
