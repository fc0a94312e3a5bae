import type { Picture } from '../decode';
import { GoodpartsError } from '../errors';
import { pictureFeeds, type Prepared } from '../features';
import { preprocessGraph, type Window } from '../graphs/preprocess';
import { reconstructionGraph } from '../graphs/reconstruction';
import { cutModel, pictureInput } from '../onnx/cut';
import type { ModelProto } from '../onnx/proto';
import { type Data, type Runtime, type Session } from '../runtime';
import { firstLine } from '../taps';
import type { NetworkFacts, Size } from '../types';
import { unbound } from './graph';

/** Everything that is needed to run a network; which part of the input its map covers does not matter for that. */
export type NetworkPlan = Omit<NetworkFacts, 'covered'>;

/** A map as the network gives it, row-major. */
export interface Grid {
  data: Float32Array;
  rows: number;
  columns: number;
}

/** What a network says of a picture. */
export interface Answer {
  score: number;
  map?: Grid;
}

/** A detector network on a device: picture to score and map, one picture at a time, as most exports take no more. */
export class Network {
  private reconstruction: Session | undefined;

  private constructor(
    private readonly runtime: Runtime,
    private readonly plan: NetworkPlan,
    /** what people call it */
    private readonly file: string,
    private readonly preprocess: Session,
    private readonly session: Session
  ) {}

  /** @param model changed in place @throws GoodpartsError `backbone-input`, `network-output` where ONNX Runtime cannot load it */
  static async open(runtime: Runtime, model: ModelProto, plan: NetworkPlan, file: string): Promise<Network> {
    const outputs = Object.values(plan.outputs);
    if (plan.format === 'anomalib') unbound(model, outputs);
    const cut = cutModel(model, outputs, pictureInput(model.graph, file), file);
    const session = await runtime.session(cut).catch((error: unknown) => {
      throw new GoodpartsError('network-output', `ONNX Runtime cannot load ${file}: ${firstLine(error)}`);
    });
    const { mean, std, input } = plan;
    const options = {
      mean,
      std,
      ...input,
      exactEdges: true,
      pillow: false,
      interpolation: 'linear' as const
    };
    return new Network(runtime, plan, file, await runtime.session(preprocessGraph(options), 'processor'), session);
  }

  async prepare({ data, width, height }: Picture): Promise<Prepared> {
    const window = this.window();
    const { input } = await this.preprocess.run(pictureFeeds({ data, width, height }, window));
    return { input: input.data, window, width, height };
  }

  /** @throws GoodpartsError `network-output` where it cannot compute the picture, or gives what is no score and no map */
  async run(input: Float32Array): Promise<Answer> {
    const { outputs } = this.plan;
    const { width, height } = this.plan.input;
    const given = { data: input, dims: [1, 3, height, width] };
    const found = await this.session.run({ [this.session.inputs[0]]: given }).catch((error: unknown) => {
      throw this.refused(`cannot compute pictures of ${width} x ${height} pixels: ${firstLine(error)}`);
    });
    if (outputs.picture) return this.compare(given, found[outputs.picture]);
    const map = outputs.map === undefined ? undefined : this.mapOf(outputs.map, found[outputs.map]);
    const score = outputs.score === undefined ? highest(map!.data) : this.scoreOf(outputs.score, found[outputs.score]);
    return { score, map };
  }

  /** Where the window that the network is given lies in the resized picture: in its middle. */
  private window(): Window {
    const { input, resized } = this.plan;
    return { resizedWidth: resized.width, resizedHeight: resized.height, ...middle(resized, input) };
  }

  private async compare(given: Data, back: Data): Promise<Answer> {
    const [, , height, width] = given.dims;
    const last = `${back.dims}` === `${[1, height, width, 3]}`;
    if (!last && `${back.dims}` !== `${given.dims}`)
      throw this.refused(
        `is no autoencoder: it gives [${back.dims.join(', ')}] for a picture of [${given.dims.join(', ')}]`
      );
    const { reconstruction, std } = this.plan;
    this.reconstruction ??= await this.runtime.session(reconstructionGraph(reconstruction, last, 1 / std[0]));
    const { score, map } = await this.reconstruction.run({ given, back });
    return { score: this.finite('score', score.data)[0], map: this.mapOf('map', map) };
  }

  private scoreOf(name: string, { data }: Data): number {
    if (data.length !== 1) throw this.refused(`gives ${data.length} numbers as ${name} for one picture, not one`);
    return this.finite(name, data)[0];
  }

  /** [h, w], with any axes of length 1 before or behind. */
  private mapOf(name: string, { data, dims }: Data): Grid {
    const last = dims.length > 2 && dims.at(-1) === 1 && dims.at(-2)! > 1;
    const [rows, columns] = last ? dims.slice(-3, -1) : dims.slice(-2);
    if (dims.length < 2 || rows * columns !== data.length)
      throw this.refused(`gives [${dims.join(', ')}] as ${name}; a map of one picture is [1, 1, height, width]`);
    return { data: this.finite(name, data), rows, columns };
  }

  private finite(name: string, data: Float32Array): Float32Array {
    if (!(data instanceof Float32Array)) throw this.refused(`gives ${name} in another number type than float`);
    const wrong = data.find(x => !Number.isFinite(x));
    if (wrong === undefined) return data;
    throw this.refused(`gives ${wrong} in ${name} for this picture; nobody can say whether it is good`);
  }

  private refused(why: string): GoodpartsError {
    return new GoodpartsError('network-output', `The network ${this.file} ${why}.`);
  }

  async release(): Promise<void> {
    await Promise.all([this.preprocess, this.session, this.reconstruction].map(s => s?.release()));
  }
}

/** Upper left corner of a window in the middle. */
export const middle = (of: Size, window: Size): { left: number; top: number } => ({
  left: Math.floor((of.width - window.width) / 2),
  top: Math.floor((of.height - window.height) / 2)
});

/** The score and every 7th value of the map, which tell as much as all of them. */
export function numbersOf({ score, map }: Answer): Float32Array {
  const some = map?.data.filter((_, i) => i % 7 === 0) ?? new Float32Array();
  const all = new Float32Array(1 + some.length);
  all[0] = score;
  all.set(some, 1);
  return all;
}

export const highest = (data: Float32Array): number => data.reduce((a, b) => Math.max(a, b), -Infinity);
