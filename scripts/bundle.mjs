// npm run bundle [-- [--to FOLDER] platform...]: for each platform one tarball that `npm install <file>` installs without a network, with every dependency in it.
// Platforms: linux-x64, linux-arm64, win32-x64, win32-arm64, darwin-arm64; without arguments the one this runs on.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
// those for which ONNX Runtime's package has a library
const PLATFORMS = ['linux-x64', 'linux-arm64', 'win32-x64', 'win32-arm64', 'darwin-arm64'];

const { values, positionals: wanted } = parseArgs({
  options: { to: { type: 'string', default: root } },
  allowPositionals: true
});
if (wanted.length === 0) wanted.push(`${process.platform}-${process.arch}`);
const unknown = wanted.find(platform => !PLATFORMS.includes(platform));
if (unknown) {
  console.error(`There is no ONNX Runtime for ${unknown}; choose from ${PLATFORMS.join(', ')}.`);
  process.exit(2);
}

const npm = (args, cwd) =>
  execFileSync('npm', args, {
    cwd,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    shell: process.platform === 'win32',
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip', npm_config_loglevel: 'error' }
  });

const readJson = file => JSON.parse(fs.readFileSync(file, 'utf8'));
const writeJson = (file, value) => fs.writeFileSync(file, JSON.stringify(value, null, 2) + '\n');
const without = (object, ...keys) => Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
const folders = folder => fs.readdirSync(folder, { withFileTypes: true }).filter(entry => entry.isDirectory());

/** What the package itself consists of, as `npm pack` sees it. */
function unpacked(scratch) {
  const [{ filename }] = JSON.parse(npm(['pack', '--json', '--ignore-scripts', '--pack-destination', scratch], root));
  execFileSync('tar', ['-xzf', filename], { cwd: scratch });
  return path.join(scratch, 'package');
}

/** ONNX Runtime comes with the libraries of all platforms, and with a script that fetches CUDA, which an offline install must not run. */
function trimRuntime(modules, os, cpu) {
  const folder = path.join(modules, 'onnxruntime-node');
  for (const api of folders(path.join(folder, 'bin')))
    for (const platform of folders(path.join(folder, 'bin', api.name)))
      for (const arch of folders(path.join(folder, 'bin', api.name, platform.name)))
        if (platform.name !== os || arch.name !== cpu)
          fs.rmSync(path.join(folder, 'bin', api.name, platform.name, arch.name), { recursive: true });
  const file = path.join(folder, 'package.json');
  writeJson(file, without(readJson(file), 'scripts'));
}

function bundle(platform, source, scratch) {
  const [system, cpu] = platform.split('-');
  const folder = path.join(scratch, platform);
  fs.cpSync(source, folder, { recursive: true });
  const file = path.join(folder, 'package.json');
  const manifest = without(readJson(file), 'devDependencies', 'scripts');
  writeJson(file, manifest);
  npm(['install', '--ignore-scripts', '--no-package-lock', `--os=${system}`, `--cpu=${cpu}`, '--libc=glibc'], folder);
  const modules = path.join(folder, 'node_modules');
  trimRuntime(modules, system, cpu);
  const bundled = Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies });
  writeJson(file, { ...manifest, bundleDependencies: bundled });
  const [{ filename, size }] = JSON.parse(npm(['pack', '--json', '--pack-destination', scratch], folder));
  const target = path.join(values.to, filename.replace(/\.tgz$/, `-${platform}.tgz`));
  fs.copyFileSync(path.join(scratch, filename), target);
  console.log(`${target}: ${(size / 1e6).toFixed(0)} MB`);
}

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-bundle-'));
try {
  const source = unpacked(scratch);
  for (const platform of wanted) bundle(platform, source, scratch);
} finally {
  fs.rmSync(scratch, { recursive: true, force: true });
}
