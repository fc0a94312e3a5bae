import { Extractor } from '../lib/engine/features';
import { completeSettings } from '../lib/engine/presets';
import { RangeObserver } from '../lib/engine/ranges';
import { Runtime } from '../lib/engine/runtime';
import { selfTestPicture } from '../lib/engine/selftest';
import { apart } from './apart';
import { timed } from './rounds';

interface Job {
  backbone: string;
  runs: number;
  threads: number;
}

/** The backbone in 8 bits: milliseconds of each picture. */
export async function work({ backbone, runs, threads }: Job): Promise<number[]> {
  const runtime = await Runtime.create('cpu', threads);
  const settings = completeSettings({ backbone });
  const exact = await Extractor.create(runtime, settings);
  const { input } = await exact.prepare(selfTestPicture());
  const observer = await RangeObserver.create(runtime, exact);
  await observer.add(input);
  const quantized = await Extractor.create(runtime, settings, observer.ranges());
  await observer.release();
  const { session } = quantized.backbone;
  return timed(Array<number>(runs).fill(0), () => session.run({ [session.inputs[0]]: quantized.feed([input]) }));
}

export const int8Bench = (job: Job): number[] => apart<number[]>(__filename, job);
