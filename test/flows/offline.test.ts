import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { put, ROOT, scratch } from '../support';

/** npm as the plant has it: nothing in its cache, and nobody who answers. */
const cutOff = (cache: string): NodeJS.ProcessEnv => ({
  ...process.env,
  npm_config_cache: cache,
  npm_config_registry: 'http://127.0.0.1:9/',
  npm_config_offline: 'true'
});

describe('npm run bundle', function () {
  this.timeout(600_000);

  it('makes a package that installs without a network and works', function () {
    const folder = scratch();
    const run = (command: string, args: string[], cwd: string, env = process.env) =>
      execFileSync(command, args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    const script = path.join(ROOT, 'scripts/bundle.mjs');
    try {
      run(process.execPath, [script, '--to', folder], ROOT);
    } catch (error) {
      if (!/ENOTFOUND|EAI_AGAIN|ECONNREFUSED/.test(String((error as { stderr?: string }).stderr))) throw error;
      console.log('      skipped: npm cannot reach its registry');
      this.skip();
    }
    const [file] = fs.readdirSync(folder).filter(name => name.endsWith('.tgz'));
    const userDir = scratch();
    put(path.join(userDir, 'package.json'), '{"private":true}');
    run('npm', ['install', path.join(folder, file)], userDir, cutOff(path.join(folder, 'cache')));
    const doctor = run(path.join(userDir, 'node_modules/.bin/goodparts'), ['doctor'], userDir);
    assert.match(doctor, /^device +cpu/);
    assert.match(doctor, /^ok +Self-test/m);
  });
});
