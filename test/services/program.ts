/** Programs of the system that tests run for real: brokers, browsers, Prometheus. `.ci/run` installs them. */
import fs from 'node:fs';
import path from 'node:path';

/** The path of a program; skips the test with a clear line where it is not installed. */
export function program(context: Mocha.Context, ...names: string[]): string {
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', '/usr/local/sbin'];
  for (const name of names)
    for (const folder of folders) {
      const file = path.join(folder, name);
      if (fs.existsSync(file)) return file;
    }
  console.log(`      skipped: ${names.join(' or ')} is not installed`);
  context.skip();
}
