import { decode } from '../decode';
import { MapHead } from '../head';
import { drawn, MB } from '../plan';
import type { Runtime } from '../runtime';
import { Turns } from '../turns';
import type { FitPlan, FitSettings, PlanRequest } from '../types';
import { openNetwork } from './fit';
import { NetworkInspector } from './inspector';

/**
 * Predicts a calibration from some runs of the network: it takes as long as scoring the pictures. Saves nothing.
 * @throws GoodpartsError as `openNetwork`, and `image-*` where the request's picture cannot be read
 */
export async function planNetwork(runtime: Runtime, settings: FitSettings, request: PlanRequest): Promise<FitPlan> {
  const { images, picture = { width: 1024, height: 1024 } } = request;
  const bytes = picture instanceof Uint8Array ? picture : await drawn(picture);
  const { network, facts, file } = await openNetwork(runtime, settings);
  const inspector = new NetworkInspector(network, facts, await MapHead.create(runtime));
  try {
    const turns = new Turns();
    const score = turns.add(async () => {
      const [inspect] = await inspector.begin([await inspector.prepare(await decode(bytes))]);
      await inspect(false, () => undefined);
    });
    await turns.run();
    const seconds = (images * score.mean) / 1000;
    return {
      images,
      tiles: images,
      patches: 0,
      dimensions: 0,
      bankSize: 0,
      input: facts.input,
      device: runtime.device,
      fitSeconds: { images: seconds, coreset: 0, calibration: 0, save: 0, total: seconds },
      peakMemoryMb: process.memoryUsage().rss / MB,
      diskMb: file.bytes.length / MB,
      detectorMb: file.bytes.length / MB,
      scoreMs: score.median
    };
  } finally {
    await inspector.release();
  }
}
