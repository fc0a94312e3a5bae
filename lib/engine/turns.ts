/** Milliseconds that are measured for, and rounds at the least. */
const ROUNDS = { ms: 4000, least: 3, most: 31 };

/** One kind of work, and the milliseconds that it took each time. */
export class Timed {
  readonly times: number[] = [];

  constructor(readonly work: () => Promise<unknown>) {}

  /** What many of it take together, each: for a fit. */
  get mean(): number {
    return this.times.reduce((sum, ms) => sum + ms, 0) / this.times.length;
  }

  /** What a single one takes, as a rule: for a score. */
  get median(): number {
    return [...this.times].sort((a, b) => a - b)[this.times.length >> 1];
  }
}

/**
 * Kinds of work that are timed in turns. A shared machine may be a third slower in one second than in the next: what is timed in one
 * go says less of the minutes to come than as many times spread over some seconds. And caches are as cold as in a fit, where one
 * kind of work follows another.
 */
export class Turns {
  private readonly all: Timed[] = [];

  add(work: () => Promise<unknown>): Timed {
    const timed = new Timed(work);
    this.all.push(timed);
    return timed;
  }

  /** Does everything once without counting it, and then again and again. */
  async run({ ms, least, most } = ROUNDS): Promise<void> {
    for (const { work } of this.all) await work();
    const end = performance.now() + ms;
    for (let round = 0; round < least || (performance.now() < end && round < most); round++)
      for (const { work, times } of this.all) times.push(await time(work));
  }
}

export async function time(work: () => Promise<unknown> | unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
