import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** A folder for one test file, made before its tests and removed after them. */
export function temporaryFolder(): { (...parts: string[]): string } {
  let folder = '';
  before(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-test-'))));
  after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return (...parts) => path.join(folder, ...parts);
}

/** Writes a file and the folders above it. */
export function put(file: string, content: string | Uint8Array): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, content);
}
