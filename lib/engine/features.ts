import { Backbone, loadBackbone } from './backbone';
import type { Picture } from './decode';
import { patchGraph } from './graphs/patch';
import { preprocessGraph, Window, windowOf } from './graphs/preprocess';
import { PRESETS } from './presets';
import { Data, int64, Runtime, Session } from './runtime';
import type { RangeArray } from './ranges';
import type { FitSettings } from './types';
import { hash } from './version';

/** Patch embeddings of pictures: [P, D] each, row-major over a grid of `rows` x `columns` patches. */
export interface Embeddings {
  patches: Float32Array[];
  rows: number;
  columns: number;
  dimensions: number;
}

/** A picture ready for the network, and where it was taken from. */
export interface Prepared {
  input: Float32Array;
  window: Window;
  width: number;
  height: number;
}

/** Settings that decide what an embedding is: detectors that agree in them share one extractor. */
const KEYS = ['preset', 'backbone', 'layers', 'inputWidth', 'inputHeight', 'resizeShorter'] as const;

/** @param ranges of a backbone in 8 bits */
export function extractorKey(settings: Required<FitSettings>, ranges?: RangeArray): string {
  const { buffer, byteOffset, byteLength } = ranges?.data ?? new Float32Array();
  return JSON.stringify([...KEYS.map(k => settings[k]), hash(new Uint8Array(buffer, byteOffset, byteLength))]);
}

/** Picture to patch embeddings: pre-process, backbone and patch graphs. Fit and score use the same one. */
export class Extractor {
  private constructor(
    readonly backbone: Backbone,
    private readonly preprocess: Session,
    private readonly patch: Session,
    private readonly settings: Required<FitSettings>,
    /** of a backbone in 8 bits */
    readonly ranges?: RangeArray
  ) {}

  /** @throws GoodpartsError when the backbone is missing, unreadable or has no such layers */
  static async create(runtime: Runtime, settings: Required<FitSettings>, ranges?: RangeArray): Promise<Extractor> {
    const backbone = await loadBackbone(runtime, settings.backbone, settings.layers, ranges);
    const { pillow, embedding } = PRESETS[settings.preset];
    const size = { width: settings.inputWidth, height: settings.inputHeight };
    const preprocess = await runtime.session(
      preprocessGraph({ mean: backbone.mean, std: backbone.std, ...size, pillow })
    );
    return new Extractor(
      backbone,
      preprocess,
      await runtime.session(patchGraph(backbone.channels, embedding)),
      settings,
      ranges
    );
  }

  async prepare({ data, width, height }: Picture): Promise<Prepared> {
    const { inputWidth, inputHeight, resizeShorter } = this.settings;
    const window = windowOf(width, height, { width: inputWidth, height: inputHeight }, resizeShorter);
    const { input } = await this.preprocess.run({
      image: { data, dims: [height, width, 3] },
      size: int64(1, 3, window.resizedHeight, window.resizedWidth),
      start: int64(window.top, window.left)
    });
    return { input: input.data, window, width, height };
  }

  /** Prepared pictures as the backbone takes them. */
  feed(inputs: Float32Array[]): Data {
    const { inputWidth, inputHeight } = this.settings;
    return { data: joined(inputs), dims: [inputs.length, 3, inputHeight, inputWidth] };
  }

  /** Embeddings of a batch of prepared pictures, in one run of the backbone. */
  async embed(inputs: Float32Array[]): Promise<Embeddings> {
    const { session } = this.backbone;
    const maps = await session.run({ [session.inputs[0]]: this.feed(inputs) });
    const layers = this.backbone.layers.map((name, i) => [`layer${i}`, maps[name]] as const);
    const { patches } = await this.patch.run(Object.fromEntries(layers));
    const [, count, dimensions] = patches.dims;
    const [, , rows, columns] = layers[0][1].dims;
    const size = count * dimensions;
    return {
      patches: inputs.map((_, i) => patches.data.subarray(i * size, (i + 1) * size)),
      rows,
      columns,
      dimensions
    };
  }

  async release(): Promise<void> {
    await Promise.all([this.backbone.session, this.preprocess, this.patch].map(s => s.release()));
  }
}

function joined(arrays: Float32Array[]): Float32Array {
  if (arrays.length === 1) return arrays[0];
  const all = new Float32Array(arrays.length * arrays[0].length);
  arrays.forEach((a, i) => all.set(a, i * a.length));
  return all;
}
