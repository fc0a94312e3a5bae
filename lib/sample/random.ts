import { randomStream } from '../engine/random';

/** Random numbers by name: the same seed and salt give the same sequence on every machine. */
export class Random {
  /** uniform in [0, 1) */
  readonly next: () => number;

  /** @param salt names the stream, so that streams of one seed do not influence one another */
  constructor(seed: number, salt: string) {
    let hash = 2166136261 ^ seed;
    for (const char of salt) hash = Math.imul(hash ^ char.charCodeAt(0), 16777619);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    this.next = randomStream(hash ^ (hash >>> 13));
  }

  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.next() * items.length)];
  }

  /** Normal with mean 0, cut at three sigma (a part outside its tolerance would not be a good part). */
  normal(sigma: number): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.next()));
    const value = radius * Math.cos(2 * Math.PI * this.next());
    return sigma * Math.max(-3, Math.min(3, value));
  }
}
