import { Parameters, type Weights } from './parameters';
import type { Task } from './step';
import type { Tape, Value } from './tape';

export interface AutoencoderOptions {
  /** pictures a step, and their size: multiples of 2 ** channels.length pixels */
  batch: number;
  width: number;
  height: number;
  /** of the encoder, each half as wide and high as the one before; the decoder goes the same way back */
  channels?: readonly number[];
}

const CHANNELS = [32, 64, 128, 64];

/**
 * A convolutional autoencoder: it learns to draw good parts through a narrow middle, and draws a defect badly. The encoder is
 * convolutions of stride 2; the decoder enlarges each pixel to 2 x 2 and convolves, which draws no chequers as transposed convolutions
 * do (Odena et al., Deconvolution and Checkerboard Artifacts, 2016). Pictures are RGB in 0..1.
 */
export class Autoencoder implements Task {
  readonly parameters = new Parameters();
  readonly inputs: Task['inputs'];
  readonly decay = 0;
  private readonly channels: readonly number[];

  constructor({ batch, width, height, channels = CHANNELS }: AutoencoderOptions) {
    this.channels = channels;
    this.inputs = { image: [batch, 3, height, width] };
    const sizes = [3, ...channels];
    channels.forEach((size, i) => this.parameters.conv(`encoder${i}`, size, sizes[i], 3));
    channels.forEach((_, i) =>
      this.parameters.conv(`decoder${i}`, sizes[channels.length - 1 - i], sizes[channels.length - i], 3)
    );
  }

  /** The picture as the network draws it. */
  forward(tape: Tape, weights: Weights, image: Value): Value {
    const conv = (x: Value, name: string, stride: number): Value =>
      tape.conv(x, weights.get(`${name}.weight`)!, weights.get(`${name}.bias`)!, { stride, pad: 1 });
    const last = this.channels.length - 1;
    let x = image;
    for (let i = 0; i <= last; i++) x = tape.relu(conv(x, `encoder${i}`, 2));
    for (let i = 0; i < last; i++) x = tape.relu(conv(tape.upsample(x, 2), `decoder${i}`, 1));
    return tape.sigmoid(conv(tape.upsample(x, 2), `decoder${last}`, 1));
  }

  loss(tape: Tape, weights: Weights, { image }: Record<string, Value>): Value {
    return tape.meanSquaredError(this.forward(tape, weights, image), image);
  }
}
