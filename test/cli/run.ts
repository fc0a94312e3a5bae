// What the tests of the command line share: it is run as a user runs it, on a small class of drawn pictures.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { part, put, ROOT } from '../support';

const CLI = path.join(ROOT, 'dist/cli/goodparts.js');

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the built CLI with its own working and temporary folder, everything piped. */
export function start(cwd: string, ...args: string[]) {
  const temporary = path.join(cwd, 'tmp');
  fs.mkdirSync(temporary, { recursive: true });
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    HOME: path.join(cwd, 'home'),
    TMPDIR: temporary,
    TEMP: temporary,
    TMP: temporary
  };
  // either would keep ONNX Runtime from writing and sending telemetry, which the engine has to do by itself
  delete env.CI;
  delete env.ORT_DISABLE_TELEMETRY;
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'pipe']
  });
  const outcome = new Promise<Outcome>((resolve, reject) => {
    const [out, err]: string[][] = [[], []];
    child.stdout.setEncoding('utf8').on('data', chunk => out.push(chunk));
    child.stderr.setEncoding('utf8').on('data', chunk => err.push(chunk));
    child.once('error', reject).once('close', code => resolve({ code, stdout: out.join(''), stderr: err.join('') }));
  });
  return { child, outcome, temporary };
}

export const run = (cwd: string, ...args: string[]) => start(cwd, ...args).outcome;

/** One clear line that says it and nothing else: no stack, nothing on stdout. */
export function refused(outcome: Outcome, code: number, says: RegExp) {
  assert.deepEqual([outcome.code, outcome.stdout], [code, ''], outcome.stderr);
  assert.match(outcome.stderr, says);
  assert.match(outcome.stderr, /^goodparts: [^\n]+\n$/);
}

export const SMALL = ['--size', '64', '--coreset', '0.1', '--device', 'cpu'];

/** A class in MVTec's layout: one defect with masks, one without. */
export async function writeClass(folder: string, train = 6) {
  for (let i = 0; i < train; i++) put(path.join(folder, `train/good/${i}.png`), await part({ seed: i }));
  for (let i = 0; i < 3; i++) {
    put(path.join(folder, `test/good/${i}.png`), await part({ seed: 50 + i }));
    put(path.join(folder, `test/hole/${i}.jpg`), await part({ seed: 60 + i, defect: true, format: 'jpeg' }));
  }
  put(path.join(folder, 'test/unmasked/0.png'), await part({ seed: 70, defect: true }));
  // half as large as the picture: it is scaled
  const square = {
    input: { create: { width: 11, height: 11, channels: 3, background: '#fff' } },
    left: 19,
    top: 10
  } as const;
  const black = sharp({ create: { width: 48, height: 48, channels: 3, background: '#000' } });
  const mask = await black.composite([square]).png().toBuffer();
  for (let i = 0; i < 3; i++) put(path.join(folder, `ground_truth/hole/${i}_mask.png`), mask);
}
