import type { DetectorInfo, DeviceReport, ScoreResult } from '../engine';
import { GoodpartsError } from '../engine/errors';
import type { Fitted, Model } from './model';
import type { Property } from './property';
import { short, type Status } from './status';

/**
 * What an anomaly-score node shows: the detector and version that scored last and how long it took, or what is in the way.
 * A detector that is fixed in the node is loaded at once, after a restart of the engine and after a fit, so that no
 * message waits for that.
 */
export function scoreStatus(status: Status, model: Model, recipe: Property) {
  const fixed = recipe.value === '' ? model.detector : recipe.type === 'str' ? recipe.value : undefined;
  let device: DeviceReport | undefined;
  let dropped = 0;

  const fill = () => (device && (device.used === 'wasm' || device.note) ? 'yellow' : 'green');
  const ready = (name: string, version: string, rest = '') => {
    if (device?.used === 'wasm' && rest === '') return status.key('yellow', 'ring', 'wasm');
    const tail = ` ${version}${rest}`;
    status.text(fill(), fill() === 'yellow' ? 'ring' : 'dot', `${short(name, 20 - tail.length)}${tail}`);
  };
  const failed = (error: Error) => {
    const unfitted = error instanceof GoodpartsError && error.code === 'detector-unknown';
    if (unfitted) status.key('grey', 'ring', 'notfitted');
    else status.key('red', 'ring', 'error');
  };
  const load = async () => {
    if (!fixed) return;
    status.key('blue', 'ring', 'loading');
    try {
      const info: DetectorInfo = await model.client.load(fixed);
      device = (await model.client.doctor()).device;
      ready(info.name, info.version);
    } catch (error) {
      failed(error as Error);
    }
  };
  const onFitted = ({ name }: Fitted) => void (name === fixed && load());
  model.on('fitted', onFitted);
  const offState = model.client.onState(state => {
    if (state === 'stopped') status.key('yellow', 'ring', 'restarting');
  });
  void load();

  return {
    queued(waiting: number, crowded: boolean): void {
      if (crowded) status.key('yellow', 'dot', 'queued', { count: waiting });
    },
    scored(result: ScoreResult, waiting: number, crowded: boolean): void {
      if (crowded) return status.key('yellow', 'dot', 'queued', { count: waiting });
      const { name, version } = result.detector;
      ready(name, version, ` ${Math.round(result.timing.total)} ms`);
    },
    dropped: () => status.key('yellow', 'ring', 'dropped', { count: ++dropped }),
    failed,
    close(): void {
      model.off('fitted', onFitted);
      offState();
      status.close();
    }
  };
}
