import { spawnSync } from 'node:child_process';
import fs from 'node:fs';

interface Answer<T> {
  value?: T;
  error?: string;
}

/**
 * Runs `work(job)` of a module in a process of its own: its memory and its threads are nobody else's.
 * @param env of that process, beside this one's
 */
export function apart<T>(module: string, job: unknown, env: NodeJS.ProcessEnv = {}): T {
  const { output, status, error } = spawnSync(process.execPath, [__filename, module], {
    input: JSON.stringify(job),
    env: { ...env, ...process.env },
    // the answer has a pipe of its own: libraries write what they like to the others
    stdio: ['pipe', 'ignore', 'inherit', 'pipe'],
    maxBuffer: 2 ** 28,
    encoding: 'utf8'
  });
  if (error) throw error;
  const answer = (output[3] ? JSON.parse(output[3]) : {}) as Answer<T>;
  if (answer.error !== undefined || answer.value === undefined)
    throw new Error(answer.error ?? `The process ended with ${status} and said nothing.`);
  return answer.value;
}

async function main(module: string): Promise<void> {
  let answer: Answer<unknown>;
  try {
    const { work } = (await import(module)) as { work(job: unknown): Promise<unknown> };
    answer = { value: await work(JSON.parse(fs.readFileSync(0, 'utf8'))) };
  } catch (error) {
    answer = { error: (error as Error).message };
  }
  fs.writeFileSync(3, JSON.stringify(answer));
  process.exit(answer.error === undefined ? 0 : 1);
}

if (require.main === module) void main(process.argv[2]);
