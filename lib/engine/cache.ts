/** A resource in use: `release` gives it back to the cache, which may then free it. */
export interface Lease<T> {
  value: T;
  release(): void;
}

interface Entry<T> {
  made: Promise<T>;
  leases: number;
  /** to be freed as soon as nobody uses it */
  expired?: boolean;
}

/** Resources that are costly to make, by key: made once, shared, and freed when they are the longest unused of too many. */
export class LeaseCache<T> {
  /** in the order of last use */
  private readonly entries = new Map<string, Entry<T>>();

  constructor(
    private readonly limit: number,
    private readonly free: (value: T) => Promise<void>
  ) {}

  /** Waits for the resource, making it when it is not there. A failure to make it is not kept. */
  async acquire(key: string, make: () => Promise<T>): Promise<Lease<T>> {
    const entry = this.entries.get(key) ?? { made: make(), leases: 0 };
    this.entries.delete(key);
    this.entries.set(key, entry);
    entry.leases++;
    try {
      const value = await entry.made;
      let open = true;
      const release = (): void => {
        if (!open) return;
        open = false;
        entry.leases--;
        if (entry.expired && entry.leases === 0) void this.drop(key, entry);
        this.shrink(this.limit);
      };
      return { value, release };
    } catch (error) {
      entry.leases--;
      if (this.entries.get(key) === entry) this.entries.delete(key);
      throw error;
    }
  }

  /** Frees what `matches`, at once or when its last user is done. */
  expire(matches: (key: string) => boolean): void {
    for (const [key, entry] of this.entries) {
      if (!matches(key)) continue;
      entry.expired = true;
      if (entry.leases === 0) void this.drop(key, entry);
    }
  }

  /** Frees everything that is not in use. */
  async clear(): Promise<void> {
    await Promise.all(this.shrink(0));
  }

  private shrink(limit: number): Promise<void>[] {
    const freed: Promise<void>[] = [];
    for (const [key, entry] of this.entries) {
      if (this.entries.size <= limit) break;
      if (entry.leases > 0) continue;
      freed.push(this.drop(key, entry));
    }
    return freed;
  }

  private drop(key: string, entry: Entry<T>): Promise<void> {
    if (this.entries.get(key) === entry) this.entries.delete(key);
    return entry.made.then(this.free, () => undefined);
  }
}
