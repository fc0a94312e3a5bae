import { Autoencoder } from './autoencoder';
import { stacked, type Method } from './method';
import { Tape } from './tape';
import type { Feeds } from './trainer';

/** Trains the autoencoder: pictures are their own target. */
export class AutoencoderMethod implements Method {
  readonly task: Autoencoder;
  readonly batch = 4;
  readonly rate = 1e-3;
  readonly length = 4000;

  constructor(private readonly size: { width: number; height: number }) {
    this.task = new Autoencoder({ batch: this.batch, ...size });
  }

  async feeds(pictures: Float32Array[]): Promise<Feeds> {
    return { image: stacked(pictures, this.task.inputs.image) };
  }

  /** Input: `image` float32 [N, 3, H, W], RGB in 0..1. Output: `reconstruction`, the same as the network draws it. */
  async network(weights: Float32Array): Promise<Uint8Array> {
    const tape = new Tape();
    const { width, height } = this.size;
    const image = tape.value(tape.g.input('image', 'float', ['N', 3, height, width]), [1, 3, height, width]);
    const drawn = this.task.forward(tape, this.task.parameters.constants(tape, weights), image);
    tape.g.output(drawn.name, 'reconstruction', 'float', ['N', 3, height, width]);
    return tape.g.build();
  }

  async release(): Promise<void> {}
}
