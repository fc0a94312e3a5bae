import type { ScoreResult } from '../engine';
import { GoodpartsError } from '../engine/errors';
import { NEAREST } from '../engine/recognise';
import type { EngineState } from '../host';
import type { Fitted, Model } from './model';
import type { Property } from './property';
import { short, type Status } from './status';

const LONGEST = 20;

/**
 * What an anomaly-score node shows: the detector and version that scored last and how long it took, or what is in the way.
 * A detector that is fixed in the node is loaded at once, after a restart of the engine, and when another version of it
 * becomes current, so that no message waits for that.
 */
export class ScoreStatus {
  private readonly fixed?: string;
  private readonly loaded = new Set<string>();
  private readonly ends: (() => void)[];
  private dropped = 0;
  private late = 0;
  private stopped = false;

  constructor(
    private readonly status: Status,
    private readonly model: Model,
    recipe: Property
  ) {
    if (recipe.value === '') this.fixed = model.detector;
    else if (recipe.type === 'str' && recipe.value !== NEAREST) this.fixed = recipe.value;
    const onFitted = ({ name }: Fitted) => void (name === this.fixed && this.load());
    model.on('fitted', onFitted);
    this.ends = [() => model.off('fitted', onFitted), model.client.onState(state => this.onEngine(state))];
    void this.load();
  }

  /** A call for this detector begins. */
  starting(name: string): void {
    if (this.loaded.has(name) || (name === NEAREST && this.loaded.size > 0)) return;
    this.status.key('blue', 'ring', 'loading');
    // where it cannot be told, the call itself fails with the reason
    this.model.device().catch(() => {});
  }

  readonly downloading = (percent: number): void => this.status.key('blue', 'ring', 'downloading', { percent });

  queued(waiting: number, crowded: boolean): void {
    if (crowded) this.status.key('yellow', 'dot', 'queued', { count: waiting });
  }

  scored({ detector, timing }: ScoreResult, waiting: number, crowded: boolean): void {
    this.loaded.add(detector.name);
    if (crowded) this.queued(waiting, crowded);
    else this.ready(detector.name, detector.version, ` ${Math.round(timing.total)} ms`);
  }

  drop(): void {
    this.status.key('yellow', 'ring', 'dropped', { count: ++this.dropped });
  }

  emptied(): void {
    this.status.key('green', 'ring', 'ready');
  }

  failed(error: Error): void {
    // taken back on purpose: nothing is wrong
    if (error instanceof GoodpartsError && error.code === 'score-cancelled') return;
    if (error instanceof GoodpartsError && error.code === 'detector-unknown')
      this.status.key('grey', 'ring', 'notfitted');
    else if (error instanceof GoodpartsError && error.code === 'deadline-missed')
      this.status.key('yellow', 'ring', 'late', { count: ++this.late });
    else this.status.key('red', 'ring', 'error');
  }

  close(): void {
    for (const end of this.ends) end();
    this.status.close();
  }

  private async load(): Promise<void> {
    if (!this.fixed) return;
    this.status.key('blue', 'ring', 'loading');
    try {
      await this.model.device();
      const { client, downloads } = this.model;
      const { name, version } = await downloads.during(() => client.load(this.fixed!), this.downloading);
      this.loaded.add(name);
      this.ready(name, version, '');
    } catch (error) {
      this.failed(error as Error);
    }
  }

  private onEngine(state: EngineState): void {
    if (state === 'stopped') {
      this.stopped = true;
      this.loaded.clear();
      this.status.event('yellow', 'ring', 'restarting');
    } else if (state === 'ready' && this.stopped) {
      this.stopped = false;
      if (this.fixed) void this.load();
      else this.status.key('green', 'ring', 'ready');
    }
  }

  /** A device that is not the wanted one stands in the detector's place: it explains the time and is to be put right. */
  private ready(name: string, version: string, time: string): void {
    const device = this.model.reported;
    if (device?.used === 'wasm') return this.status.key('yellow', 'ring', 'wasm');
    if (device?.note) return this.status.text('yellow', 'ring', `${device.wanted} → ${device.used}${time}`);
    const tail = ` ${version}${time}`;
    this.status.text('green', 'dot', `${short(name, LONGEST - tail.length)}${tail}`);
  }
}
