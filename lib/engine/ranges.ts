import { GoodpartsError } from './errors';
import type { Extractor } from './features';
import type { Npy } from './npy';
import { OBSERVED, observer } from './onnx/observe';
import { ModelProto, toNumber } from './onnx/proto';
import { quantize, Range, rangeTensors } from './onnx/quantize';
import type { Runtime, Session } from './runtime';

/** Ranges as a detector keeps them: [T, 5], a row a tensor: low, high, channels, rows, columns. The model says which tensors. */
export type RangeArray = Npy<Float32Array>;

/** From this version on ONNX can round weights channel by channel. */
const OPSET = 13;

/** Collects what flows through a backbone in float32, picture by picture; only a few numbers a tensor are kept. */
export class RangeObserver {
  private sums: Float64Array | undefined;
  private pictures = 0;

  private constructor(
    private readonly session: Session,
    private readonly extractor: Extractor
  ) {}

  /** @throws GoodpartsError `fit-precision` where the backbone cannot be rounded */
  static async create(runtime: Runtime, extractor: Extractor): Promise<RangeObserver> {
    const model = await extractor.backbone.model();
    const version = toNumber(model.opsetImport.find(o => !o.domain || o.domain === 'ai.onnx')?.version);
    if (version < OPSET)
      throw unsupported(`the ONNX file is of version ${version}, int8 needs ${OPSET} or later (opset)`);
    const tensors = rangeTensors(model);
    if (!tensors.length) throw unsupported('it holds no convolution that could be rounded');
    try {
      return new RangeObserver(await runtime.session(observer(model, tensors)), extractor);
    } catch (error) {
      throw unsupported((error as Error).message.split('\n')[0]);
    }
  }

  /** @param input a picture as `Extractor.prepare` gives it */
  async add(input: Float32Array): Promise<void> {
    const { observed } = await this.session.run({ [this.session.inputs[0]]: this.extractor.feed([input]) });
    const sums = (this.sums ??= new Float64Array(observed.data.length));
    observed.data.forEach((value, i) => (sums[i] += value));
    this.pictures++;
  }

  /**
   * The mean of the pictures' lowest and highest values. The lowest and highest of all would be wider for the sake of single values: the
   * features' error was a fifth to a third larger.
   */
  ranges(): RangeArray {
    const data = Float32Array.from(this.sums!, sum => sum / this.pictures);
    return { data, shape: [data.length / OBSERVED, OBSERVED] };
  }

  release(): Promise<void> {
    return this.session.release();
  }
}

const unsupported = (why: string): GoodpartsError =>
  new GoodpartsError('fit-precision', `This backbone cannot run in int8: ${why}. Set the precision to float32.`);

/**
 * The backbone in 8 bits; the same from the same ranges, at the fit and wherever the detector is loaded.
 * @throws GoodpartsError `detector-parity` where the ranges were made for another graph
 */
export function quantized(model: ModelProto, { data, shape }: RangeArray): ModelProto {
  const tensors = rangeTensors(model);
  if (tensors.length !== shape[0] || shape[1] !== OBSERVED)
    throw new GoodpartsError(
      'detector-parity',
      'This version of Goodparts rounds the backbone in another way than the one that fitted the detector; fit again.'
    );
  const range = (row: number): Range => {
    const [low, high, channels, rows, columns] = data.subarray(row * OBSERVED, (row + 1) * OBSERVED);
    return { low, high, channels, rows, columns };
  };
  return quantize(model, new Map(tensors.map((name, i) => [name, range(i)])));
}
