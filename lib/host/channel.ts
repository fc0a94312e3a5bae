import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

/** Where a file is memory and reaches no disk (Linux). */
const FOLDER = '/dev/shm';

/** The engine process inherits the memory under this number, behind its output and the channel for messages. */
export const MEMORY_FD = 4;

/** Bytes of one direction that wait to be read, at most; what does not fit goes with its message. */
const LANE = 16 * 2 ** 20;

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

/** Where bytes of a message lie; `sharedAt` counts from the first byte that was ever written to the lane. */
interface Place {
  sharedAt: number;
  length: number;
}

const isPlace = (value: object): value is Place => 'sharedAt' in value;

/** What really travels between the processes. */
export interface Envelope {
  message: unknown;
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

  send(message: Out): void {
    const light = replaced(message, value => (value instanceof Uint8Array ? this.put(value) : undefined));
    this.post({ message: light, read: this.readHere });
  }

  /** @throws when the memory cannot be read */
  received({ message, read }: Envelope): In {
    this.readThere = read;
    return replaced(message, value => (isPlace(value) ? this.take(value) : undefined)) as In;
  }

  /** @returns the bytes themselves where they do not fit or are too few */
  private put(bytes: Uint8Array): Place | Uint8Array {
    const { length } = bytes;
    if (this.memory === undefined || length < WORTH || length > LANE) return bytes;
    const left = LANE - (this.written % LANE);
    const sharedAt = left < length ? this.written + left : this.written;
    if (sharedAt + length - this.readThere > LANE || !this.write(bytes, sharedAt)) return bytes;
    this.written = sharedAt + length;
    return { sharedAt, length };
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

/** A message with some of its objects replaced, at any depth. */
function replaced(value: unknown, by: (value: object) => object | undefined): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const other = by(value);
  if (other) return other;
  if (Array.isArray(value)) return value.map(entry => replaced(entry, by));
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, replaced(entry, by)]));
}
