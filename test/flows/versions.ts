import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../support';

/** A Node-RED to test in. */
export interface Target {
  title: string;
  /** Node-RED's red.js and the Node.js binary to run it with; throws where they cannot be had */
  files(): Promise<{ red: string; node: string }>;
}

const run = promisify(execFile);
const NODE_RED_5 = '5.0.7';

/** Node-RED 5 needs a newer Node.js than this package; both come from the registry, once, into test/.cache. */
async function nodeRed5(): Promise<{ red: string; node: string }> {
  const folder = path.join(ROOT, 'test/.cache/node-red-5');
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const binary = `node-${platform}-${process.arch}`;
  const files = {
    red: path.join(folder, 'node_modules/node-red/red.js'),
    node: path.join(folder, 'node_modules', binary, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
  };
  if (Object.values(files).every(file => fs.existsSync(file))) return files;
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n');
  const args = ['install', '--ignore-scripts', `node-red@${NODE_RED_5}`, `${binary}@22`];
  await run('npm', args, { cwd: folder, shell: process.platform === 'win32' });
  return files;
}

export const TARGETS: Target[] = [
  {
    title: 'Node-RED 4.1',
    files: async () => ({ red: require.resolve('node-red/red.js'), node: process.execPath })
  },
  { title: `Node-RED ${NODE_RED_5} on Node.js 22`, files: nodeRed5 }
];
