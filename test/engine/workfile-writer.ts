// A process that writes a working file until it is killed; see pool.test.ts.
import { RowFile } from '../../lib/engine/workfile';

void (async () => {
  const file = await RowFile.create(process.argv[2], 64);
  for (let i = 0; ; i++) {
    await file.append(new Float32Array(64 * 100));
    if (i === 10) process.send!('written');
    if (i > 10) await new Promise(resolve => setTimeout(resolve, 10));
  }
})();
