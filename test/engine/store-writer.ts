// Saves version after version until it is killed; see store.test.ts.
import { completeSettings } from '../../lib/engine/presets';
import { DetectorStore } from '../../lib/engine/store';

async function main(): Promise<void> {
  const store = new DetectorStore(process.argv[2], 3);
  process.send!('started');
  for (;;) {
    const arrays = { bank: { data: new Float32Array(9000), shape: [3000, 3] } };
    const calibration = { method: 'leave-one-out' as const, scores: [1], mapMaxima: [1], mapMedian: 0 };
    await store.save(
      {
        name: 'part',
        created: new Date().toISOString(),
        settings: completeSettings(),
        images: 1,
        bankSize: 3000,
        dimensions: 3,
        backboneSha256: '',
        calibration,
        selfTest: { score: 1 }
      },
      arrays
    );
  }
}

void main();
