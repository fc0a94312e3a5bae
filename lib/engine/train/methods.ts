import type { Extractor } from '../features';
import type { Runtime } from '../runtime';
import type { FitSettings } from '../types';
import { AutoencoderMethod } from './autoencoder-method';
import { EfficientAdMethod } from './efficientad-method';
import type { Method } from './method';

/**
 * @param pictures all good ones, as large as the settings say
 * @param extractor of the teacher, where the method has one
 */
export async function methodFor(
  runtime: Runtime,
  settings: Required<FitSettings>,
  pictures: AsyncIterable<Float32Array>,
  extractor?: Extractor
): Promise<Method> {
  if (extractor) return EfficientAdMethod.create(runtime, extractor, pictures, settings);
  return new AutoencoderMethod({ width: settings.inputWidth, height: settings.inputHeight });
}
