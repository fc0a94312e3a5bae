// Puts examples/src into the flows of examples/: the body of every function there into the function node of that name
// (fitAll -> "fit all"), and page.html into the template node "page". With --check it only says whether that is done.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as busy from '../examples/src/busy.mjs';
import * as camera from '../examples/src/camera.mjs';
import * as demo from '../examples/src/functions.mjs';
import * as http from '../examples/src/http.mjs';
import * as mlflow from '../examples/src/mlflow.mjs';

const examples = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../examples');
const flowFiles = {
  'flows.json': { functions: demo, page: 'src/page.html' },
  'inspect-by-http.json': { functions: http },
  'several-products.json': { functions: camera },
  'busy-line.json': { functions: { ...camera, ...busy } },
  'mlflow.json': { functions: { ...camera, ...mlflow } }
};

const words = name => name.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`);

function body(fn) {
  const lines = fn.toString().split('\n').slice(1, -1);
  return lines.map(line => line.replace(/^ {2}/, '')).join('\n');
}

function assemble(file, flows) {
  const { functions, page } = flowFiles[file];
  const take = (type, name, field, value) => {
    const node = flows.find(n => n.type === type && n.name === name);
    if (!node) throw new Error(`examples/${file} has no ${type} node "${name}".`);
    node[field] = value;
  };
  for (const [name, fn] of Object.entries(functions)) take('function', words(name), 'func', body(fn));
  if (page) take('template', 'page', 'template', fs.readFileSync(path.join(examples, page), 'utf8'));
  return JSON.stringify(flows, null, 2) + '\n';
}

for (const file of Object.keys(flowFiles)) {
  const place = path.join(examples, file);
  const before = fs.readFileSync(place, 'utf8');
  const after = assemble(file, JSON.parse(before));
  if (before === after) continue;
  if (!process.argv.includes('--check')) fs.writeFileSync(place, after);
  else {
    console.error(`examples/${file} is not what examples/src says: run node scripts/build-examples.mjs`);
    process.exitCode = 1;
  }
}
