import type { Extractor } from '../features';
import { GraphBuilder } from '../onnx/builder';
import type { Runtime, Session } from '../runtime';
import { STUDENT_STRIDE } from './efficientad';

export interface TeacherScale {
  /** of each of the D features over the good parts */
  mean: Float32Array;
  std: Float32Array;
}

/**
 * The teacher's features on the student's grid. Input: `patches` float32 [N, P, D], as the extractor gives them. Output: `features`
 * float32 [N, D, H / 8, W / 8], each feature with mean 0 and deviation 1 over the good parts.
 * Source: Batzner et al., EfficientAD (2024), algorithm 1.
 */
export function teacherGraph(
  { mean, std }: TeacherScale,
  grid: { rows: number; columns: number },
  size: { width: number; height: number }
): Uint8Array {
  const g = new GraphBuilder();
  const depth = mean.length;
  const patches = g.input('patches', 'float', ['N', grid.rows * grid.columns, depth]);
  const scaled = g.op('Div', [g.op('Sub', [patches, g.floats(mean, [depth])]), g.floats(std, [depth])]);
  const turned = g.op('Transpose', [scaled], { perm: [0, 2, 1] });
  let map = g.op('Reshape', [turned, g.ints(0, depth, grid.rows, grid.columns)]);
  const [rows, columns] = [size.height / STUDENT_STRIDE, size.width / STUDENT_STRIDE];
  if (rows !== grid.rows || columns !== grid.columns) {
    const scales = g.floats(Float32Array.of(1, 1, rows / grid.rows, columns / grid.columns), [4]);
    map = g.op('Resize', [map, '', scales], { mode: 'linear', coordinate_transformation_mode: 'half_pixel' });
  }
  g.output(map, 'features', 'float', ['N', depth, rows, columns]);
  return g.build();
}

/** What the student learns to say: the features of a backbone, which stays as it is. */
export class Teacher {
  private constructor(
    private readonly extractor: Extractor,
    readonly scale: TeacherScale,
    readonly grid: { rows: number; columns: number },
    private readonly session: Session
  ) {}

  /** Looks at all the good parts once. `pictures` are RGB in 0..1, [3, H, W] each. */
  static async create(runtime: Runtime, extractor: Extractor, pictures: AsyncIterable<Float32Array>): Promise<Teacher> {
    let sums: [Float64Array, Float64Array] | undefined;
    let grid = { rows: 0, columns: 0 };
    let count = 0;
    for await (const picture of pictures) {
      const { patches, rows, columns, dimensions } = await extractor.embed([normalised(extractor, picture)]);
      grid = { rows, columns };
      sums ??= [new Float64Array(dimensions), new Float64Array(dimensions)];
      patches[0].forEach((x, i) => {
        sums![0][i % dimensions] += x;
        sums![1][i % dimensions] += x * x;
      });
      count += rows * columns;
    }
    const mean = Float32Array.from(sums![0], x => x / count);
    // a feature that never changes tells nothing, and must not be divided by nothing
    const std = Float32Array.from(sums![1], (x, i) => Math.sqrt(Math.max(x / count - mean[i] ** 2, 1e-6)));
    const session = await runtime.session(teacherGraph({ mean, std }, grid, extractor.size));
    return new Teacher(extractor, { mean, std }, grid, session);
  }

  get features(): number {
    return this.scale.mean.length;
  }

  /** Features of pictures, [N, D, H / 8, W / 8]. */
  async see(pictures: Float32Array[]): Promise<Float32Array> {
    const { patches, rows, columns, dimensions } = await this.extractor.embed(
      pictures.map(picture => normalised(this.extractor, picture))
    );
    const one = rows * columns;
    const together = new Float32Array(pictures.length * one * dimensions);
    patches.forEach((p, i) => together.set(p, i * one * dimensions));
    const dims = [pictures.length, one, dimensions];
    return (await this.session.run({ patches: { data: together, dims } })).features.data;
  }

  release(): Promise<void> {
    return this.session.release();
  }
}

/** A picture as the backbone expects it. */
function normalised({ backbone: { mean, std } }: Extractor, picture: Float32Array): Float32Array {
  if (mean.every(m => m === 0) && std.every(s => s === 1)) return picture;
  const size = picture.length / 3;
  return picture.map((x, i) => {
    const channel = Math.floor(i / size);
    return (x - mean[channel]) / std[channel];
  });
}
