import { Extractor } from '../lib/engine/features';
import { completeSettings } from '../lib/engine/presets';
import { RangeObserver } from '../lib/engine/ranges';
import { Runtime } from '../lib/engine/runtime';
import { selfTestPicture } from '../lib/engine/selftest';
import { percentile } from '../lib/engine/threshold';

/** The backbone in float32 and in 8 bits, run in turn: median milliseconds a picture. */
export async function int8Bench(backbone = 'embedded', runs = 40) {
  const runtime = await Runtime.create('cpu');
  const settings = completeSettings({ backbone });
  const exact = await Extractor.create(runtime, settings);
  const { input } = await exact.prepare(selfTestPicture());
  const observer = await RangeObserver.create(runtime, exact);
  await observer.add(input);
  const quantized = await Extractor.create(runtime, settings, observer.ranges());
  await observer.release();
  const times: [Extractor, number[]][] = [exact, quantized].map(extractor => [extractor, []]);
  for (let i = 0; i < runs; i++)
    for (const [extractor, list] of times) {
      const { session } = extractor.backbone;
      const start = performance.now();
      await session.run({ [session.inputs[0]]: extractor.feed([input]) });
      if (i > 2) list.push(performance.now() - start);
    }
  await Promise.all([exact.release(), quantized.release()]);
  const [float32Ms, int8Ms] = times.map(([, list]) =>
    percentile(
      list.sort((a, b) => a - b),
      50
    )
  );
  return { backbone, float32Ms, int8Ms, ratio: float32Ms / int8Ms };
}
