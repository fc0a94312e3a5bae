import type { Device } from '../engine';
import { EngineProcess } from './process';
import { PRIORITY } from './supervisor';

export type Log = (text: string) => void;

interface Entry {
  process: EngineProcess;
  /** the users' log functions; the longest-standing user reports for all */
  users: Lease[];
}

const shared = new Map<Device, Entry>();

/** A user's share in the score process of a device. */
export interface Lease {
  readonly process: EngineProcess;
  /** Gives the share back; the last one ends the process. Resolves when that is done; calling it twice does no harm. */
  release(): Promise<void>;
}

function open(device: Device): Entry {
  const users: (Lease & { log: Log })[] = [];
  const title = `scoring, ${device}`;
  return { users, process: new EngineProcess({ title, priority: PRIORITY.score, log: text => users[0]?.log(text) }) };
}

/** Takes a share in the one score process of this device, which starts at its first call. */
export function acquire(device: Device, log: Log): Lease {
  const entry = shared.get(device) ?? open(device);
  shared.set(device, entry);
  const lease = { process: entry.process, log, release: () => release(device, entry, lease) };
  entry.users.push(lease);
  return lease;
}

async function release(device: Device, entry: Entry, lease: Lease): Promise<void> {
  const index = entry.users.indexOf(lease);
  if (index < 0) return;
  entry.users.splice(index, 1);
  if (entry.users.length > 0) return;
  // a user that comes while the old process ends gets a new one
  if (shared.get(device) === entry) shared.delete(device);
  await entry.process.close();
}
