// Puts examples/src into examples/flows.json: page.html into the template node "page", and the body of every function of
// functions.mjs into the function node of that name (fitAll -> "fit all"). With --check it only says whether that is done.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as functions from '../examples/src/functions.mjs';

const examples = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../examples');
const file = path.join(examples, 'flows.json');

const words = name => name.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`);

function body(fn) {
  const lines = fn.toString().split('\n').slice(1, -1);
  return lines.map(line => line.replace(/^ {2}/, '')).join('\n');
}

function assemble(flows) {
  const take = (type, name, field, value) => {
    const node = flows.find(n => n.type === type && n.name === name);
    if (!node) throw new Error(`examples/flows.json has no ${type} node "${name}".`);
    node[field] = value;
  };
  for (const [name, fn] of Object.entries(functions)) take('function', words(name), 'func', body(fn));
  take('template', 'page', 'template', fs.readFileSync(path.join(examples, 'src/page.html'), 'utf8'));
  return JSON.stringify(flows, null, 2) + '\n';
}

const before = fs.readFileSync(file, 'utf8');
const after = assemble(JSON.parse(before));
if (process.argv.includes('--check')) {
  if (before !== after) {
    console.error('examples/flows.json is not what examples/src says: run node scripts/build-examples.mjs');
    process.exit(1);
  }
} else fs.writeFileSync(file, after);
