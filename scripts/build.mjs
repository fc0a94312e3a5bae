// Compiles TypeScript into dist/ and puts beside it the files that Node-RED and the engine read as they are
// (editor pages, translations, icons, onnx.proto), and its AssemblyScript into WebAssembly. Node-RED wants each node's .js and .html side by side.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const dist = path.join(root, 'dist');
const asIs = new Set(['.html', '.json', '.svg', '.png', '.proto', '.md']);

// Editor pages share code and styles; Node-RED wants each page whole. A comment says what goes where.
function withIncludes(page) {
  const read = (_, indent, file) =>
    fs
      .readFileSync(path.resolve(path.dirname(page), file), 'utf8')
      .trimEnd()
      .replaceAll(/^(?=.)/gm, indent);
  return fs.readFileSync(page, 'utf8').replaceAll(/^( *)\/\* include (\S+) \*\/$/gm, read);
}

function copyAsIs(folder) {
  for (const entry of fs.readdirSync(path.join(root, folder), { withFileTypes: true })) {
    const relative = path.join(folder, entry.name);
    if (entry.isDirectory()) copyAsIs(relative);
    else if (asIs.has(path.extname(entry.name)) && entry.name !== 'tsconfig.json') {
      fs.mkdirSync(path.join(dist, folder), { recursive: true });
      if (relative.endsWith('.html'))
        fs.writeFileSync(path.join(dist, relative), withIncludes(path.join(root, relative)));
      else fs.copyFileSync(path.join(root, relative), path.join(dist, relative));
    }
  }
}

const tool = name => createRequire(import.meta.url).resolve(name);

function compile(compiler, ...options) {
  const { status } = spawnSync(process.execPath, [compiler, ...options], { stdio: 'inherit' });
  if (status === 0) return;
  // what a failed build leaves must not pass for a newer one
  fs.rmSync(dist, { recursive: true, force: true });
  process.exit(status ?? 1);
}

fs.rmSync(dist, { recursive: true, force: true });
compile(tool('typescript/bin/tsc'), '-p', root);
const kernel = 'lib/engine/assembly/squared';
const simd = ['-O3', '--noAssert', '--runtime', 'stub', '--enable', 'simd', '--importMemory'];
compile(
  tool('assemblyscript/bin/asc.js'),
  path.join(root, `${kernel}.ts`),
  '-o',
  path.join(dist, `${kernel}.wasm`),
  ...simd
);
for (const folder of ['nodes', 'lib']) copyAsIs(folder);
