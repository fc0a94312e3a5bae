import { Parameters, type Weights } from './parameters';
import type { Task } from './step';
import type { Tape, Value } from './tape';

export interface EfficientAdOptions {
  /** pictures a step, and their size: multiples of 32 pixels */
  batch: number;
  width: number;
  height: number;
  /** channels of the teacher's features */
  features: number;
  /** channels of the student's layers */
  student?: readonly [number, number, number];
  /** channels of the autoencoder's layers */
  autoencoder?: number;
  latent?: number;
  /**
   * share of the differences between student and teacher that are small enough to be left alone. The paper has .999 and trains for 70,000
   * steps; in the few hundred that a CPU has time for, .9 learns faster
   */
  hard?: number;
}

/** Pixels of the picture that share one place in the student's map, and in the autoencoder's before its middle. */
export const STUDENT_STRIDE = 8;
const MIDDLE_STRIDE = 32;
/** The features of both halves of the student, and of the autoencoder, [N, D, H / 8, W / 8]. */
export interface Drawn {
  student: Value;
  studentOfAutoencoder: Value;
  autoencoder: Value;
}

/**
 * EfficientAD: a student learns to give a teacher's features on good parts, and fails at what it has never seen; an autoencoder learns
 * them through a narrow middle and sees what is in the wrong place; the student's second half learns what the autoencoder gets wrong on
 * good parts, so that this does not count. The student is a patch description network as in the paper, but with strides of 2 in place
 * of pooling and a map of stride 8, which is the embedded teacher's.
 * Not taken over: the penalty on pictures of ImageNet, which no plant has.
 * Source: Batzner et al., EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies (2024), sec. 3.
 */
export class EfficientAd implements Task {
  readonly parameters = new Parameters();
  readonly inputs: Task['inputs'];
  readonly decay = 1e-5;
  private readonly features: number;
  private readonly middle: [number, number];
  private readonly hard: number;

  constructor(options: EfficientAdOptions) {
    const { batch, width, height, features, student = [64, 128, 256], autoencoder: ae = 64, latent = 64 } = options;
    this.features = features;
    this.hard = options.hard ?? 0.9;
    this.middle = [height / MIDDLE_STRIDE, width / MIDDLE_STRIDE];
    const picture = [batch, 3, height, width];
    const map = [batch, features, height / STUDENT_STRIDE, width / STUDENT_STRIDE];
    this.inputs = { image: picture, teacher: map, changed: picture, changed_teacher: map };
    const [a, b, c] = student;
    this.parameters
      .conv('student0', a, 3, 4)
      .conv('student1', b, a, 4)
      .conv('student2', c, b, 4)
      .conv('student3', c, c, 3)
      .conv('student4', 2 * features, c, 1)
      .conv('encoder0', ae / 2, 3, 4)
      .conv('encoder1', ae / 2, ae / 2, 4)
      .conv('encoder2', ae, ae / 2, 4)
      .conv('encoder3', ae, ae, 4)
      .conv('encoder4', ae, ae, 4)
      .conv('encoder5', latent, ae, ...this.middle)
      .conv('decoder0', ae, latent, 3)
      .conv('decoder1', ae, ae, 3)
      .conv('decoder2', ae, ae, 3)
      .conv('decoder3', features, ae, 3);
  }

  /** @param image RGB in 0..1, the same for both */
  forward(tape: Tape, weights: Weights, image: Value): Drawn {
    const student = this.student(tape, weights, image);
    return {
      student: tape.channels(student, 0, this.features),
      studentOfAutoencoder: tape.channels(student, this.features, 2 * this.features),
      autoencoder: this.autoencoder(tape, weights, image)
    };
  }

  /** Of the paper's three parts: teacher and student where it is hard, teacher and autoencoder, autoencoder and student. */
  loss(tape: Tape, weights: Weights, inputs: Record<string, Value>): Value {
    const { image, teacher, changed, changed_teacher: target } = inputs;
    const plain = tape.channels(this.student(tape, weights, image), 0, this.features);
    const hard = tape.meanOfHardest(tape.square(tape.sub(plain, teacher)), this.hard);
    const { autoencoder, studentOfAutoencoder } = this.forward(tape, weights, changed);
    const drawn = tape.meanSquaredError(autoencoder, target);
    return tape.add(hard, tape.add(drawn, tape.meanSquaredError(studentOfAutoencoder, autoencoder)));
  }

  private student(tape: Tape, weights: Weights, image: Value): Value {
    const conv = convOf(tape, weights);
    let x = image;
    for (let i = 0; i < 3; i++) x = tape.relu(conv(x, `student${i}`, 2, 1));
    return conv(tape.relu(conv(x, 'student3', 1, 1)), 'student4', 1, 0);
  }

  private autoencoder(tape: Tape, weights: Weights, image: Value): Value {
    const conv = convOf(tape, weights);
    let x = image;
    for (let i = 0; i < 5; i++) x = tape.relu(conv(x, `encoder${i}`, 2, 1));
    x = tape.upsample(conv(x, 'encoder5', 1, 0), ...this.middle);
    for (let i = 0; i < 3; i++) {
      x = tape.relu(conv(x, `decoder${i}`, 1, 1));
      if (i < 2) x = tape.upsample(x, 2);
    }
    return conv(x, 'decoder3', 1, 1);
  }
}

type Conv = (x: Value, name: string, stride: number, pad: number) => Value;
const convOf =
  (tape: Tape, weights: Weights): Conv =>
  (x, name, stride, pad) =>
    tape.conv(x, weights.get(`${name}.weight`)!, weights.get(`${name}.bias`)!, { stride, pad });
