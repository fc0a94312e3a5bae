import { GoodpartsError } from '../engine/errors';
import type { AnomalyMap } from '../engine';

const whole = (value: unknown) => Number.isInteger(value) && (value as number) > 0;

/**
 * What a message brought as `msg.anomalyMap`, checked.
 * @param what needs the map, for the error's text
 * @throws GoodpartsError `input-missing` when there is none or its Buffer is not width x height float32 values
 */
export function mapOf(value: unknown, what: string): AnomalyMap {
  if (value === undefined || value === null)
    throw new GoodpartsError(
      'input-missing',
      `${what} needs msg.anomalyMap: switch on the anomaly map in anomaly-score, and keep the property until here.`
    );
  const { data, width, height } = value as AnomalyMap;
  if (whole(width) && whole(height) && data instanceof Uint8Array && data.byteLength === width * height * 4)
    return value as AnomalyMap;
  throw new GoodpartsError(
    'input-missing',
    'msg.anomalyMap is not a map: {data, width, height} with a Buffer of width x height float32 values.'
  );
}

/** The map's values, row-major; without a copy where the Buffer's place in memory allows it: read only. */
export function mapValues({ data, width, height }: AnomalyMap): Float32Array {
  const bytes = data.byteOffset % 4 === 0 ? data : new Uint8Array(data);
  return new Float32Array(bytes.buffer, bytes.byteOffset, width * height);
}
