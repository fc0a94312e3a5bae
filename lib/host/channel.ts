import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

/** Where a file is memory and reaches no disk (Linux). */
const FOLDER = '/dev/shm';

/** The engine process inherits the memory under this number, behind its output and the channel for messages. */
export const MEMORY_FD = 4;

/** Bytes of one direction that wait to be read, at most; what does not fit goes with its message. */
const LANE = 8 * 2 ** 20;

/** Fewer bytes would not pay for a write and a read of their own. */
const WORTH = 16 * 2 ** 10;

/**
 * Memory for two processes: a file without a name, gone with the last process that has it open, however that ends.
 * @returns its descriptor; nothing where the system has no such memory or does not allow it
 */
export function shareMemory(): number | undefined {
  const file = path.join(FOLDER, `goodparts-${randomUUID()}`);
  try {
    const fd = fs.openSync(file, 'wx+', 0o600);
    fs.unlinkSync(file);
    return fd;
  } catch {
    return undefined;
  }
}

type Path = (string | number)[];

/** A message seen from a path. */
type Tree = Record<string | number, unknown>;

/** Bytes that were taken out of a message. */
interface Place {
  /** where in the message they belong */
  path: Path;
  /** where in the lane they lie, counted from the first byte that was ever written to it */
  sharedAt: number;
  length: number;
}

/** What really travels between the processes. */
export interface Envelope {
  message: unknown;
  /** in the order in which they were written; beside the message, as what somebody sent must not pass for a place */
  places: Place[];
  /** up to where the sender has read what was written for it; that may be written over */
  read: number;
}

/**
 * One end of the channel between Node-RED and an engine process. Pictures and maps travel in shared memory, one lane a direction: as a
 * part of the message each would be copied four times, and Node-RED's garbage collector would start every ten pictures. Messages
 * arrive in the order in which they were sent, so each lane is a ring that is read in the order in which it was written.
 */
export class Channel<Out, In> {
  private written = 0;
  /** of what was written here, as far as the other end has said */
  private readThere = 0;
  private readHere = 0;

  /**
   * @param post sends one message to the other end
   * @param memory descriptor of what both ends share
   * @param lane that is written here, 0 or 1; the other end has the other one
   */
  constructor(
    private readonly post: (envelope: Envelope) => void,
    private readonly memory: number | undefined,
    private readonly lane: 0 | 1
  ) {}

  /** @throws where the message cannot be cloned; nothing of it is sent then */
  send(message: Out): void {
    const places: Place[] = [];
    const before = this.written;
    try {
      this.post({ message: this.lightened(message, [], places), places, read: this.readHere });
    } catch (error) {
      this.written = before;
      throw error;
    }
  }

  /** @throws when the memory cannot be read */
  received({ message, places, read }: Envelope): In {
    this.readThere = read;
    for (const place of places) {
      const within = place.path.slice(0, -1).reduce((value, key) => value[key] as Tree, message as Tree);
      within[place.path.at(-1)!] = this.take(place);
    }
    return message as In;
  }

  /** A copy of the message without the bytes that travel beside it. */
  private lightened(value: unknown, path: Path, places: Place[]): unknown {
    if (typeof value !== 'object' || value === null) return value;
    if (value instanceof Uint8Array) return this.put(value, path, places) ? null : value;
    if (Array.isArray(value)) return value.map((entry, i) => this.lightened(entry, [...path, i], places));
    if (Object.getPrototypeOf(value) !== Object.prototype) return value;
    const entries = Object.entries(value).map(([key, entry]) => [key, this.lightened(entry, [...path, key], places)]);
    return Object.fromEntries(entries);
  }

  /** @returns whether they are in the memory: they may be too few, or more than there is room for */
  private put(bytes: Uint8Array, path: Path, places: Place[]): boolean {
    const { length } = bytes;
    if (this.memory === undefined || length < WORTH || length > LANE) return false;
    const left = LANE - (this.written % LANE);
    const sharedAt = left < length ? this.written + left : this.written;
    if (sharedAt + length - this.readThere > LANE || !this.write(bytes, sharedAt)) return false;
    this.written = sharedAt + length;
    places.push({ path, sharedAt, length });
    return true;
  }

  /** @returns whether there was memory for all of it */
  private write(bytes: Uint8Array, at: number): boolean {
    try {
      return fs.writeSync(this.memory!, bytes, 0, bytes.length, this.lane * LANE + (at % LANE)) === bytes.length;
    } catch {
      return false;
    }
  }

  private take({ sharedAt, length }: Place): Buffer {
    // not from Node's pool: a Float32Array can only be laid over multiples of four
    const bytes = Buffer.allocUnsafeSlow(length);
    const read = fs.readSync(this.memory!, bytes, 0, length, (1 - this.lane) * LANE + (sharedAt % LANE));
    if (read !== length) throw new Error(`shared memory gave ${read} of ${length} bytes`);
    this.readHere = sharedAt + length;
    return bytes;
  }
}
