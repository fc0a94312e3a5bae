import type { Data } from '../runtime';
import { joined } from '../backbone';
import type { Task } from './step';
import type { Feeds } from './trainer';

/** A network that can be trained: how pictures become what a step is given, and weights a network that finds anomalies. */
export interface Method {
  readonly task: Task;
  /** pictures a step */
  readonly batch: number;
  /** learning rate at the start */
  readonly rate: number;
  /** pictures that it takes to learn, counting each as often as it comes */
  readonly length: number;
  /**
   * @param pictures as many as a step takes, RGB in 0..1, [3, H, W] each
   * @param learning these are learned, and may be changed a little for that
   */
  feeds(pictures: Float32Array[], learning: boolean): Promise<Feeds>;
  /** The trained network with everything around it, as a serialized ONNX model; `heldOut` are good pictures that it has not seen. */
  network(weights: Float32Array, heldOut: AsyncIterable<Float32Array>): Promise<Uint8Array>;
  release(): Promise<void>;
}

/** Pictures or maps as one tensor [N, ...]. */
export const stacked = (each: Float32Array[], shape: readonly number[]): Data => ({ data: joined(each), dims: shape });
