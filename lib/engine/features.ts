import { Backbone, joined, loadBackbone, runBackbone, sizeFor } from './backbone';
import type { Picture } from './decode';
import { GoodpartsError } from './errors';
import { patchGraph } from './graphs/patch';
import { preprocessGraph, Window, windowOf } from './graphs/preprocess';
import { PRESETS } from './presets';
import { Data, int64, Runtime, Session } from './runtime';
import type { RangeArray } from './ranges';
import type { Size } from './taps';
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
const KEYS = ['preset', 'backbone', 'layers', 'layerWeights', 'inputWidth', 'inputHeight', 'resizeShorter'] as const;

/** @param ranges of a backbone in 8 bits */
export function extractorKey(settings: Required<FitSettings>, ranges?: RangeArray): string {
  const { buffer, byteOffset, byteLength } = ranges?.data ?? new Float32Array();
  return JSON.stringify([...KEYS.map(k => settings[k]), hash(new Uint8Array(buffer, byteOffset, byteLength))]);
}

/** Picture to patch embeddings: pre-process, backbone and patch graphs. Fit and score use the same one. */
export class Extractor {
  private constructor(
    readonly backbone: Backbone,
    /** what the network is given, pixels; the settings may ask for another size, see sizeFor */
    readonly size: Size,
    private readonly preprocess: Session,
    private readonly patch: Session,
    private readonly resizeShorter: number,
    /** of a backbone in 8 bits */
    readonly ranges?: RangeArray
  ) {}

  /** @throws GoodpartsError when the backbone is missing, unreadable, has no such layers or does not suit the settings */
  static async create(runtime: Runtime, settings: Required<FitSettings>, ranges?: RangeArray): Promise<Extractor> {
    const wanted = { width: settings.inputWidth, height: settings.inputHeight };
    const backbone = await loadBackbone(runtime, settings.backbone, settings.layers, ranges, wanted);
    try {
      const size = sizeFor(backbone, wanted);
      checkSuits(backbone, settings, size);
      const graphs = extractorGraphs(backbone, settings, size);
      const preprocess = await runtime.session(graphs.preprocess, 'processor');
      const patch = await runtime.session(graphs.patch);
      return new Extractor(backbone, size, preprocess, patch, settings.resizeShorter, ranges);
    } catch (error) {
      await backbone.session.release();
      throw error;
    }
  }

  async prepare({ data, width, height }: Picture): Promise<Prepared> {
    const window = windowOf(width, height, this.size, this.resizeShorter);
    const { input } = await this.preprocess.run(pictureFeeds({ data, width, height }, window));
    return { input: input.data, window, width, height };
  }

  /** Prepared pictures as the backbone takes them. */
  feed(inputs: Float32Array[]): Data {
    const { width, height } = this.size;
    return { data: joined(inputs), dims: [inputs.length, 3, height, width] };
  }

  /** Embeddings of a batch of prepared pictures, in one run of the backbone. */
  async embed(inputs: Float32Array[]): Promise<Embeddings> {
    const maps = await runBackbone(this.backbone, this.feed(inputs));
    const { patches } = await this.patch.run(Object.fromEntries(maps.map((map, i) => [`layer${i}`, map])));
    const [, count, dimensions] = patches.dims;
    const { rows, columns } = this.gridOf(maps[0]);
    const size = count * dimensions;
    return {
      patches: inputs.map((_, i) => patches.data.subarray(i * size, (i + 1) * size)),
      rows,
      columns,
      dimensions
    };
  }

  /** Rows and columns of the first layer, which is the grid of the patches. */
  private gridOf({ dims }: Data): { rows: number; columns: number } {
    const [form] = this.backbone.forms;
    if (form.kind === 'map') return { rows: dims[2], columns: dims[3] };
    if (form.kind === 'channels-last') return { rows: dims[1], columns: dims[2] };
    return { rows: this.size.height / form.patch, columns: this.size.width / form.patch };
  }

  async release(): Promise<void> {
    await Promise.all([this.backbone.session, this.preprocess, this.patch].map(s => s.release()));
  }
}

/** What a pre-process graph is given for a picture. */
export function pictureFeeds({ data, width, height }: Picture, window: Window) {
  return {
    image: { data, dims: [height, width, 3] },
    size: int64(window.resizedHeight, window.resizedWidth),
    start: int64(window.top, window.left)
  };
}

/** The graphs before and behind the backbone. */
export function extractorGraphs(
  { mean, std, channels, forms }: Backbone,
  settings: Required<FitSettings>,
  size: Size
): { preprocess: Uint8Array; patch: Uint8Array } {
  const { pillow, interpolation, embedding } = PRESETS[settings.preset];
  // detectors of earlier versions have no weights
  const layers = forms.map((form, i) => ({ form, channels: channels[i], weight: settings.layerWeights?.[i] ?? 1 }));
  return {
    preprocess: preprocessGraph({ mean, std, ...size, pillow, interpolation }),
    patch: patchGraph({ layers, embedding, ...size })
  };
}

/** @throws GoodpartsError where the backbone cannot do what the settings ask for */
function checkSuits({ layers, forms }: Backbone, settings: Required<FitSettings>, { width, height }: Size): void {
  const { layerWeights = [], preset, backbone, resizeShorter } = settings;
  if (layerWeights.length && layerWeights.length !== layers.length)
    throw new GoodpartsError(
      'fit-settings',
      `layerWeights has ${layerWeights.length} numbers for ${layers.length} layers (${layers.join(', ')}); give one number a layer.`
    );
  if (PRESETS[preset].embedding === 'unit' && !forms.every(form => form.kind === 'tokens'))
    throw new GoodpartsError(
      'backbone-taps',
      `The preset ${preset} needs a vision transformer such as DINOv2, and ${backbone} is none; choose another backbone or preset.`
    );
  if (resizeShorter && resizeShorter < Math.max(width, height))
    throw new GoodpartsError(
      'backbone-size',
      `${backbone} takes ${width} x ${height} pixels, which do not fit into a picture resized to ${resizeShorter} by its shorter side.`
    );
}
