import type { Extractor } from '../features';
import { randomStream } from '../random';
import type { Runtime } from '../runtime';
import type { FitSettings } from '../types';
import { percentile } from '../threshold';
import { EfficientAd } from './efficientad';
import { differencesGraph, findingGraph, type MapScale } from './efficientad-network';
import { stacked, type Method } from './method';
import { relit } from './relit';
import { Teacher } from './teacher';
import type { Feeds } from './trainer';

/** Map values that become 0 and 0.1. Source: EfficientAD, sec. 3.4. */
const [LOW, HIGH] = [90, 99.5];

/** Trains EfficientAD's student and autoencoder with the features of a backbone. */
export class EfficientAdMethod implements Method {
  readonly task: EfficientAd;
  readonly batch = 2;
  readonly rate = 1e-3;
  readonly length = 1500;

  private constructor(
    private readonly runtime: Runtime,
    private readonly extractor: Extractor,
    private readonly teacher: Teacher,
    private readonly settings: Required<FitSettings>,
    private readonly random: () => number
  ) {
    this.task = new EfficientAd({ batch: this.batch, ...extractor.size, features: teacher.features });
  }

  /** @param pictures all good ones */
  static async create(
    runtime: Runtime,
    extractor: Extractor,
    pictures: AsyncIterable<Float32Array>,
    settings: Required<FitSettings>
  ): Promise<EfficientAdMethod> {
    const teacher = await Teacher.create(runtime, extractor, pictures);
    return new EfficientAdMethod(runtime, extractor, teacher, settings, randomStream(settings.seed + 2 ** 16));
  }

  async feeds(pictures: Float32Array[], learning: boolean): Promise<Feeds> {
    const { inputs } = this.task;
    const seen = await this.teacher.see(pictures);
    const changed = learning ? pictures.map(picture => relit(picture, this.random)) : pictures;
    const changedSeen = learning ? await this.teacher.see(changed) : seen;
    return {
      image: stacked(pictures, inputs.image),
      teacher: stacked([seen], inputs.teacher),
      changed: stacked(changed, inputs.changed),
      changed_teacher: stacked([changedSeen], inputs.changed_teacher)
    };
  }

  /** @see efficientad-network.ts for what the network takes and gives */
  async network(weights: Float32Array, heldOut: AsyncIterable<Float32Array>): Promise<Uint8Array> {
    const scales = await this.scales(weights, heldOut);
    return findingGraph(this.extractor, this.teacher, this.task, weights, scales, this.settings);
  }

  /** How both maps come to one scale: the paper's quantiles of their values on good parts that were not learned. */
  private async scales(weights: Float32Array, heldOut: AsyncIterable<Float32Array>): Promise<[MapScale, MapScale]> {
    const session = await this.runtime.session(differencesGraph(this.task, weights));
    const values: [number[], number[]] = [[], []];
    try {
      for await (const picture of heldOut) {
        const { image, teacher } = this.task.inputs;
        const found = await session.run({
          image: stacked([picture], [1, ...image.slice(1)]),
          features: stacked([await this.teacher.see([picture])], [1, ...teacher.slice(1)])
        });
        values[0].push(...found.student.data);
        values[1].push(...found.autoencoder.data);
      }
    } finally {
      await session.release();
    }
    return values.map(all => {
      all.sort((a, b) => a - b);
      return { low: percentile(all, LOW), high: percentile(all, HIGH) };
    }) as [MapScale, MapScale];
  }

  release(): Promise<void> {
    return this.teacher.release();
  }
}
