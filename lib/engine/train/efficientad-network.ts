import { extractorGraphs, type Extractor } from '../features';
import { GraphBuilder } from '../onnx/builder';
import { fuse, type Part } from '../onnx/fuse';
import { DataType, decodeModel, type ValueInfoProto } from '../onnx/proto';
import { upgrade } from '../onnx/upgrade';
import type { FitSettings } from '../types';
import { GoodpartsError } from '../errors';
import type { EfficientAd } from './efficientad';
import { teacherGraph, type Teacher } from './teacher';
import { Tape } from './tape';

/** Values of a map on good parts that become 0 and 0.1. */
export interface MapScale {
  low: number;
  high: number;
}

/**
 * What teacher, student and autoencoder say differently of a picture: the mean over the features of the squared difference.
 * Inputs: `image` float32 [N, 3, H, W], RGB in 0..1; `features` float32 [N, D, H / 8, W / 8], the teacher's. Outputs: `student` (teacher and
 * student) and `autoencoder` (autoencoder and student), float32 [N, 1, H / 8, W / 8].
 */
export function differencesGraph(task: EfficientAd, weights: Float32Array): Uint8Array {
  const { g, maps } = differences(task, weights);
  const [, , rows, columns] = task.inputs.teacher;
  for (const [name, map] of Object.entries(maps)) g.output(map, name, 'float', ['N', 1, rows, columns]);
  return g.build();
}

function differences(
  task: EfficientAd,
  weights: Float32Array
): { g: GraphBuilder; maps: Record<'student' | 'autoencoder', string> } {
  const tape = new Tape();
  const { g } = tape;
  const [[, ...picture], [, ...map]] = [task.inputs.image, task.inputs.teacher];
  const image = tape.value(g.input('image', 'float', ['N', ...picture]), [1, ...picture]);
  const features = tape.value(g.input('features', 'float', ['N', ...map]), [1, ...map]);
  const drawn = task.forward(tape, task.parameters.constants(tape, weights), image);
  const difference = (a: typeof image, b: typeof image): string =>
    g.op('ReduceMean', [tape.square(tape.sub(a, b)).name, g.ints(1)]);
  return {
    g,
    maps: {
      student: difference(features, drawn.student),
      autoencoder: difference(drawn.autoencoder, drawn.studentOfAutoencoder)
    }
  };
}

/**
 * The same, with both maps brought to one scale, averaged and enlarged. Outputs: `combined_map` float32 [N, 1, H, W]; `image_score` float32
 * [N], its largest value before it is enlarged.
 * Source: Batzner et al., EfficientAD (2024), sec. 3.4.
 */
function combinedGraph(task: EfficientAd, weights: Float32Array, scales: [MapScale, MapScale]): Uint8Array {
  const { g, maps } = differences(task, weights);
  const [student, autoencoder] = [maps.student, maps.autoencoder].map((map, i) => {
    const { low, high } = scales[i];
    // half of each, and 0.1 where the paper's upper quantile lies
    const factor = 0.05 / Math.max(high - low, 1e-12);
    return g.op('Mul', [g.op('Sub', [map, g.scalar(low)]), g.scalar(factor)]);
  });
  const map = g.op('Add', [student, autoencoder]);
  const [, , height, width] = task.inputs.image;
  const [, , rows, columns] = task.inputs.teacher;
  const enlarge = g.floats(Float32Array.of(1, 1, height / rows, width / columns), [4]);
  const whole = g.op('Resize', [map, '', enlarge], { mode: 'linear', coordinate_transformation_mode: 'half_pixel' });
  g.output(whole, 'combined_map', 'float', ['N', 1, height, width]);
  g.output(g.op('ReduceMax', [map, g.ints(1, 2, 3)], { keepdims: 0 }), 'image_score', 'float', ['N']);
  return g.build();
}

/** RGB in 0..1 as the backbone expects it. Input: `image`. Output: `normalised`, both float32 [N, 3, H, W]. */
function normaliseGraph({ mean, std }: { mean: number[]; std: number[] }): Uint8Array {
  const g = new GraphBuilder();
  const image = g.input('image', 'float', ['N', 3, 'H', 'W']);
  const [m, s] = [mean, std].map(values => g.floats(Float32Array.from(values), [1, 3, 1, 1]));
  g.output(g.op('Div', [g.op('Sub', [image, m]), s]), 'normalised', 'float', ['N', 3, 'H', 'W']);
  return g.build();
}

/**
 * Everything from the picture to the map in one model: backbone, teacher's scale, student and autoencoder.
 * Input: `image` float32 [N, 3, H, W], RGB in 0..1. Outputs: `combined_map` float32 [N, 1, H, W], `image_score` float32 [N].
 * @throws GoodpartsError `backbone-operators` where the backbone cannot be written with the operators of today
 */
export async function findingGraph(
  extractor: Extractor,
  teacher: Teacher,
  task: EfficientAd,
  weights: Float32Array,
  scales: [MapScale, MapScale],
  settings: Required<FitSettings>
): Promise<Uint8Array> {
  const { backbone, size } = extractor;
  const network = await backbone.model();
  const why = upgrade(network, GraphBuilder.opset);
  if (why)
    throw new GoodpartsError(
      'backbone-operators',
      `The backbone cannot become part of a trained detector, because it has ${why}; export it again with a newer version of the operators.`
    );
  const part = (prefix: string, bytes: Uint8Array, feeds: Part['feeds']): Part => ({
    model: decodeModel(bytes),
    prefix,
    feeds
  });
  const layers = backbone.layers.map((name, i) => [`layer${i}`, `backbone/${name}`]);
  const [, , height, width] = task.inputs.image;
  return fuse({
    parts: [
      part('normalise/', normaliseGraph(backbone), { image: 'image' }),
      { model: network, prefix: 'backbone/', feeds: { [network.graph.input[0].name]: 'normalise/normalised' } },
      part('patch/', extractorGraphs(backbone, settings, size).patch, Object.fromEntries(layers)),
      part('teacher/', teacherGraph(teacher.scale, teacher.grid, size), { patches: 'patch/patches' }),
      part('student/', combinedGraph(task, weights, scales), {
        image: 'image',
        features: 'teacher/features',
        combined_map: 'combined_map',
        image_score: 'image_score'
      })
    ],
    inputs: [tensor('image', ['N', 3, height, width])],
    outputs: [tensor('combined_map', ['N', 1, height, width]), tensor('image_score', ['N'])],
    metadata: { method: 'EfficientAD', trained_by: 'goodparts' },
    description: 'EfficientAD, trained by Goodparts'
  });
}

const tensor = (name: string, dims: (number | string)[]): ValueInfoProto => ({
  name,
  type: {
    tensorType: {
      elemType: DataType.float,
      shape: { dim: dims.map(d => (typeof d === 'number' ? { dimValue: d } : { dimParam: d })) }
    }
  }
});
