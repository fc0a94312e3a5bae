/** A Python with packages from PyPI, for tests that compare with it; made once, in test/.cache. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { ROOT } from '../support';
import { program } from './program';

/** The interpreter of a virtual environment with these packages; skips the test with a clear line where it cannot be made. */
export function python(context: Mocha.Context, ...packages: string[]): string {
  const key = createHash('sha256').update(packages.join(' ')).digest('hex').slice(0, 16);
  const venv = path.join(ROOT, 'test/.cache/python', key);
  const interpreter = path.join(venv, 'bin/python');
  const ready = path.join(venv, 'ready');
  if (fs.existsSync(ready)) return interpreter;
  const system = program(context, 'python3', 'python');
  try {
    execFileSync(system, ['-m', 'venv', '--clear', venv], { stdio: 'pipe' });
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages];
    execFileSync(interpreter, pip, { stdio: 'pipe' });
    fs.writeFileSync(ready, '');
    return interpreter;
  } catch (error) {
    console.log(`      skipped: Python with ${packages.join(', ')} cannot be set up: ${(error as Error).message}`);
    context.skip();
  }
}
