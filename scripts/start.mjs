// npm start: Node-RED with the demo flow, its own user directory under .goodparts/, and sample parts to look at.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { build } from './built.mjs';
import { freePort, placeFlows, prepare, root, startNodeRed } from './node-red.mjs';

const usage = `npm start [-- options]

  --data <folder>  pictures in MVTec layout: train/good, test/good, test/<defect> (default: sample parts, drawn once)
  --port <number>  port of Node-RED on this machine (default 1880, or the next free one)
  --fresh          start from the shipped flow again; an edited flow is kept beside it as flows.edited.json
  --verbose        print everything that Node-RED logs
  --help           this text

The demo lives in .goodparts/ of this folder; ~/.node-red is not touched. Ctrl-C ends it.`;

const home = path.join(root, '.goodparts');
const userDir = path.join(home, 'node-red');
const require = createRequire(import.meta.url);
const say = text => console.log(text);

class Refusal extends Error {}

function options() {
  const flag = { type: 'boolean', default: false };
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      port: { type: 'string', default: '1880' },
      fresh: flag,
      verbose: flag,
      help: { ...flag, short: 'h' }
    }
  });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 1 || port > 65000) throw new Refusal(`--port ${values.port} is not a port.`);
  return { ...values, port };
}

/** The folder to inspect: the user's, or the sample parts, drawn when they are not there yet. */
async function dataFolder(given) {
  const folder = given ? path.resolve(process.env.INIT_CWD ?? '.', given) : path.join(home, 'flange');
  if (given) {
    const missing = ['train/good', 'test'].find(sub => !fs.existsSync(path.join(folder, sub)));
    if (missing) throw new Refusal(`${folder} is not in MVTec layout: ${missing} is missing.`);
    return folder;
  }
  if (fs.existsSync(folder)) return folder;
  const { writeSample } = require(path.join(root, 'dist/lib/sample'));
  const draw = (done, total) =>
    process.stdout.isTTY && process.stdout.write(`\rDrawing sample parts ${done}/${total} `);
  const { train, good, defects } = await writeSample(folder, { onProgress: draw });
  say(
    `${process.stdout.isTTY ? '\r' : ''}Sample parts: ${train} to learn from, ${good} good and ${defects} defective to test.`
  );
  return folder;
}

/** Says on the terminal how the fit goes, until the detector is there. */
async function follow(url) {
  let last = '';
  for (;;) {
    const { detector, error, fit } = await fetch(`${url}/goodparts/state`)
      .then(response => response.json())
      .catch(() => ({}));
    if (detector && !fit) {
      const { name, images, seconds } = detector;
      return say(`Fitted "${name}" from ${images} good parts in ${seconds.toFixed(1)} s; inspecting the test parts.`);
    }
    const now = error ? `Error: ${error}` : fit ? 'Learning the good parts ...' : last;
    if (now !== last) say(now);
    last = now;
    await new Promise(resolve => setTimeout(resolve, 1000));
  }
}

async function main() {
  const { data, port: wanted, fresh, verbose, help } = options();
  if (help) return say(usage);
  build(say);
  const folder = await dataFolder(data);
  prepare(userDir);
  const { flows, kept } = placeFlows(path.join(root, 'examples/flows.json'), userDir, fresh);
  if (kept) say('The flow was changed in the editor and is kept (npm start -- --fresh for the shipped one).');
  const port = await freePort(wanted);
  if (port !== wanted) say(`Port ${wanted} is in use; taking ${port}.`);
  const log = fs.createWriteStream(path.join(userDir, 'node-red.log'));
  const onLine = line => {
    log.write(line + '\n');
    if (verbose || /\[error\]|missing types/.test(line)) say(line);
  };
  let server = null;
  let ending = false;
  const stop = async () => {
    if (ending) return;
    ending = true;
    say('\nStopping ...');
    await server?.stop();
    process.exit(0);
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  say('Starting Node-RED ...');
  const red = require.resolve('node-red/red.js');
  const env = { GOODPARTS_DATA: folder };
  server = await startNodeRed({ red, userDir, flows, port, env, onLine });
  say(
    `\n  Demo page  ${server.url}/goodparts\n  Editor     ${server.url}/\n  Pictures   ${folder}\n\nCtrl-C ends it.\n`
  );
  void server.ended.then(code => {
    if (ending) return;
    console.error(`Node-RED ended by itself (${code}); its log is ${path.join(userDir, 'node-red.log')}`);
    process.exit(1);
  });
  await follow(server.url);
}

main().catch(error => {
  const expected =
    error instanceof Refusal || /^(ERR_PARSE_ARGS|build-failed)/.test(error.code) || error.name === 'GoodpartsError';
  console.error(expected ? `${error.message}\n\n${usage}` : error);
  process.exit(1);
});
