// Builds the package where it is not built, or was changed since.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { root } from './node-red.mjs';

const newest = folder =>
  Math.max(
    ...fs
      .readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => fs.statSync(path.join(entry.parentPath ?? entry.path, entry.name)).mtimeMs)
  );

/** @throws Error `The build failed` */
export function build(say) {
  // copied last of all, so it says that a build went through
  const built = path.join(root, 'dist/lib/engine/onnx/onnx.proto');
  const sources = ['lib', 'nodes', 'cli'].filter(folder => fs.existsSync(path.join(root, folder)));
  if (fs.existsSync(built) && sources.every(folder => newest(folder) <= fs.statSync(built).mtimeMs)) return;
  say('Building ...');
  const { status } = spawnSync(process.execPath, [path.join(root, 'scripts/build.mjs')], { stdio: 'inherit' });
  if (status !== 0) throw Object.assign(new Error('The build failed; see above.'), { code: 'build-failed' });
}
