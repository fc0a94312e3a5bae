// Puts examples/src into the flows of examples/: the body of every function there into the function node of that name
// (fitAll -> "fit all"; fitAllStart and fitAllStop: its code "On Start" and "On Stop"), page.html into the template node "page",
// and each widget of dashboard/ into the ui-template of its name, with the methods that all share and its texts. With --check
// it only says whether that is done.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as busy from '../examples/src/busy.mjs';
import * as camera from '../examples/src/camera.mjs';
import * as classic from '../examples/src/dashboard-classic.mjs';
import * as dashboard from '../examples/src/dashboard.mjs';
import * as dashboardShow from '../examples/src/dashboard-show.mjs';
import { shared } from '../examples/src/dashboard/shared.mjs';
import * as demo from '../examples/src/functions.mjs';
import * as firstVerdict from '../examples/src/first-verdict.mjs';
import * as http from '../examples/src/http.mjs';
import * as autoencoder from '../examples/src/http/autoencoder.mjs';
import * as detector from '../examples/src/http/detector.mjs';
import * as kafkaApi from '../examples/src/http/kafka.mjs';
import * as openapi from '../examples/src/http/openapi.mjs';
import * as uploadPage from '../examples/src/http/page.mjs';
import * as reference from '../examples/src/http/reference.mjs';
import * as kafka from '../examples/src/kafka.mjs';
import * as mlflow from '../examples/src/mlflow.mjs';
import * as mqtt from '../examples/src/mqtt.mjs';
import * as opcua from '../examples/src/opcua.mjs';
import * as sparkplug from '../examples/src/sparkplug.mjs';

const examples = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../examples');
/** The HTTP flows of one API each: what all have, and the document that each adds to /openapi.json. */
const { checkTheRequest, asAnError } = http;
const api = (functions, document, page) => ({
  functions: { checkTheRequest, asAnError, ...openapi, ...functions },
  document,
  page
});
const flowFiles = {
  'first-verdict.json': { functions: firstVerdict },
  'flows.json': { functions: demo, page: 'src/page.html' },
  'inspect-by-http.json': { functions: http },
  'http-autoencoder.json': api(autoencoder, 'autoencoder'),
  'http-detector.json': api(detector, 'detector'),
  'http-patchcore-kafka.json': api(kafkaApi, 'patchcore-kafka'),
  'http-reference.json': api(reference, 'reference'),
  'http-upload-page.json': api(uploadPage, 'upload-page', 'src/http/page.html'),
  'several-products.json': { functions: camera },
  'busy-line.json': { functions: { ...camera, ...busy } },
  'mlflow.json': { functions: { ...camera, ...mlflow } },
  'kafka.json': { functions: { ...camera, ...kafka } },
  'opcua.json': { functions: opcua },
  'mqtt.json': { functions: { ...camera, ...mqtt, ...sparkplug } },
  'dashboard-classic.json': {
    functions: { ...camera, ...classic },
    templates: { part: 'src/dashboard-classic/part.html' }
  },
  'dashboard.json': { functions: { ...dashboard, ...dashboardShow }, widgets: 'src/dashboard' }
};

const words = name => name.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`);

function body(fn) {
  const lines = fn.toString().split('\n').slice(1, -1);
  return lines.map(line => line.replace(/^ {2}/, '')).join('\n');
}

const read = (...names) => fs.readFileSync(path.join(examples, ...names), 'utf8');

/** A widget's template as its ui-template needs it: with all that it uses in it. */
function widget(folder, name) {
  const all = Object.entries(JSON.parse(read(folder, 'texts.json')));
  const texts = Object.fromEntries(all.map(([tag, texts]) => [tag, { ...texts.common, ...texts[name] }]));
  const methods = Object.values(shared)
    .map(method => `${method},`)
    .join('\n')
    .replace('TEXTS', () => JSON.stringify(texts))
    .replace('LANGUAGES', () => JSON.stringify(Object.keys(texts)));
  return read(folder, `${name}.vue`).replace('/* shared */', () => methods);
}

/** What the function node "openapi" does when its flow starts and ends. The path that may be changed is changed in the document, too. */
function registration(name) {
  const document = JSON.parse(read(`../docs/openapi/${name}.json`));
  const moved = document.paths['/predict'] ? ".replaceAll('\"/predict\"', JSON.stringify(env.get('PREDICT')))" : '';
  const text = JSON.stringify(JSON.stringify(document));
  const set = what =>
    `const all = global.get('goodpartsHttp') || {};\nglobal.set('goodpartsHttp', { ...all, ${what} });`;
  return {
    initialize: `const text = ${text}${moved};\n${set(`'${name}': JSON.parse(text)`)}`,
    finalize: set(`'${name}': undefined`)
  };
}

function assemble(file, flows) {
  const { functions, page, document, widgets, templates = {} } = flowFiles[file];
  const take = (type, name, field, value) => {
    const nodes = flows.filter(n => n.type === type && n.name === name);
    if (nodes.length === 0) throw new Error(`examples/${file} has no ${type} node "${name}".`);
    for (const node of nodes) node[field] = value;
  };
  for (const [name, fn] of Object.entries(functions)) {
    const [, node, when] = /^(.*?)(Start|Stop)?$/.exec(name);
    take('function', words(node), { Start: 'initialize', Stop: 'finalize' }[when] ?? 'func', body(fn));
  }
  for (const [field, code] of Object.entries(document ? registration(document) : {}))
    take('function', 'openapi', field, code);
  if (page) take('template', 'page', 'template', read(page));
  for (const [name, place] of Object.entries(templates)) take('ui_template', name, 'format', read(place));
  if (widgets) {
    take('ui-template', 'style', 'format', read(widgets, 'style.css'));
    const names = fs.readdirSync(path.join(examples, widgets)).flatMap(name => name.match(/^(.+)\.vue$/)?.[1] ?? []);
    for (const name of names) take('ui-template', name, 'format', widget(widgets, name));
  }
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
