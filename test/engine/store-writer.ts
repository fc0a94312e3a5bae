// A detector in the store's tests; run as a process it saves version after version until it is killed, see store.test.ts.
import { completeSettings } from '../../lib/engine/presets';
import { Arrays, DetectorStore, StoredInfo } from '../../lib/engine/store';

export const INFO: StoredInfo<'patchcore'> = {
  name: 'part',
  created: '2026-01-01T00:00:00.000Z',
  settings: completeSettings(),
  images: 3,
  bankSize: 2,
  dimensions: 3,
  backboneSha256: 'ab'.repeat(32),
  calibration: { method: 'leave-one-out', scores: [1], mapMaxima: [1], mapMedian: 0.5 },
  selfTest: { score: 1 }
};

/** The arrays that go with `INFO` where its `bankSize` is `rows`. */
export const bank = (rows = INFO.bankSize): Arrays => ({
  bank: { data: new Float32Array(rows * 3).fill(0.5), shape: [rows, 3] },
  'bank-origin': { data: new Int32Array(rows), shape: [rows] },
  'selftest-image': { data: new Uint8Array(12), shape: [2, 2, 3] },
  'selftest-embedding': { data: new Float32Array(48), shape: [48] },
  'selftest-map': { data: new Float32Array(4), shape: [4] }
});

async function main(): Promise<void> {
  const store = new DetectorStore(process.argv[2], 3);
  process.send!('started');
  for (;;) await store.save({ ...INFO, bankSize: 3000 }, bank(3000));
}

if (require.main === module) void main();
