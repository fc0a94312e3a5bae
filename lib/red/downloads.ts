import { pullBackbone } from '../backbones/pull';
import { entryOf } from '../engine/catalogue';
import { GoodpartsError } from '../engine/errors';

/** A server that just failed is left alone for so long: every message of a busy line would ask it again. */
const REST = 60_000;

/** Backbones that a model downloads when they are needed, where its settings allow that. */
export class Downloads {
  private readonly closing = new AbortController();
  private readonly failed = new Map<string, { error: Error; until: number }>();

  constructor(
    private readonly store: string,
    private readonly allowed: boolean
  ) {}

  /**
   * Runs a task; where it fails for want of a backbone of the catalogue, that is downloaded and the task runs again: twice, where it
   * needs two. Whoever needs the same one at the same time waits for the same download.
   * @param onPercent called as the download goes on
   */
  async during<T>(task: () => Promise<T>, onPercent: (percent: number) => void): Promise<T> {
    const pulled = new Set<string>();
    for (;;)
      try {
        return await task();
      } catch (error) {
        const id = error instanceof GoodpartsError && error.code === 'backbone-missing' && error.details.backbone;
        if (!this.allowed || typeof id !== 'string' || pulled.has(id)) throw error;
        await this.pull(id, onPercent);
        pulled.add(id);
      }
  }

  close(): void {
    this.closing.abort();
  }

  private async pull(id: string, onPercent: (percent: number) => void): Promise<void> {
    const before = this.failed.get(id);
    if (before && Date.now() < before.until) throw before.error;
    const { signal } = this.closing;
    onPercent(0);
    try {
      await pullBackbone(entryOf(id)!, this.store, {
        signal,
        onProgress: ({ done, total }) => onPercent(total ? Math.floor((100 * done) / total) : 0)
      });
    } catch (error) {
      if (signal.aborted) throw new GoodpartsError('engine-stopped', `The download of ${id} was ended by a deploy.`);
      this.failed.set(id, { error: error as Error, until: Date.now() + REST });
      throw error;
    }
  }
}
