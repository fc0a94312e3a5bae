import { fork, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { Channel, shareMemory, type Envelope } from './channel';
import type { Answer, Call, Cancel } from './protocol';
import { soon } from './soon';

const STDERR_TAIL = 2000;
const STOP_GRACE_MS = 2000;
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 30_000;

/**
 * Nice values, added to Node-RED's own: its event loop before scoring, scoring before fitting. ONNX Runtime takes every core it finds, so
 * without them a busy engine would hold up all flows.
 */
export const PRIORITY = { score: 5, fit: 10 } as const;

/**
 * V8's setting of a process that scores. Pictures and their numbers lie outside V8's small heap, yet count for when all of it is collected:
 * five times a second, for nothing, as the collections of what is young free them. A fit takes its time, and is to take less memory.
 */
export const SCORE_HEAP = '--heap-growing-percent=500';

/**
 * Settings of glibc's malloc (other systems take no notice of them) for a process that fits: what large arrays leave behind goes back to
 * the system at once, and threads do not keep heaps of their own. A WideResNet50-2 leaves 250 MB behind while it is loaded; see
 * docs/architecture.md. What the user sets goes first.
 */
export const FIT_MALLOC = {
  MALLOC_ARENA_MAX: '1',
  MALLOC_MMAP_THRESHOLD_: '4000000',
  MALLOC_TRIM_THRESHOLD_: '8000000'
};

/** Milliseconds before the next start after `deaths` deaths in a row: the first restart is at once, then ever later. */
export function backOff(deaths: number): number {
  return deaths <= 1 ? 0 : Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (deaths - 2));
}

/** One run of the engine process, from fork to exit. */
export class Child {
  ready = false;
  private readonly process: ChildProcess;
  private readonly channel: Channel<Call | Cancel, Answer>;
  private stderr = '';
  private exited = false;
  private readonly gone: Promise<void>;

  constructor(priority: number, onAnswer: (answer: Answer) => void, onExit: (why: string) => void) {
    const memory = shareMemory();
    this.process = fork(path.join(__dirname, 'main.js'), [String(priority), memory === undefined ? '' : 'memory'], {
      serialization: 'advanced',
      execArgv: [],
      env: priority === PRIORITY.fit ? { ...FIT_MALLOC, ...process.env } : process.env,
      // what native code prints is kept for the report of a crash instead of filling Node-RED's console
      stdio: ['ignore', 'ignore', 'pipe', 'ipc', memory ?? 'ignore']
    });
    this.channel = new Channel(envelope => this.process.send(envelope, () => {}), memory, 0);
    this.process.stderr?.on('data', (text: Buffer) => (this.stderr = (this.stderr + text).slice(-STDERR_TAIL)));
    this.process.on('message', envelope => this.receive(envelope as Envelope, onAnswer));
    this.gone = new Promise(resolve => {
      const end = (why: string) => {
        if (this.exited) return;
        this.exited = true;
        if (memory !== undefined) fs.closeSync(memory);
        onExit(why);
        resolve();
      };
      this.process.on('exit', (code, signal) => end(signal ? `signal ${signal}` : `exit code ${code}`));
      this.process.on('error', error => {
        // a process that never came to be gives no 'exit'
        if (this.process.pid === undefined) end(error.message);
      });
    });
  }

  get pid(): number | undefined {
    return this.process.pid;
  }

  /** The last thing that the process printed to its error output; empty when it printed nothing. */
  get lastWords(): string {
    return this.stderr.trim();
  }

  /** @throws when the message cannot be cloned; a channel that has just closed is reported by `onExit` instead */
  send(message: Call | Cancel): void {
    this.channel.send(message);
  }

  private receive(envelope: Envelope, onAnswer: (answer: Answer) => void): void {
    // what arrives behind the exit is answered already, and its memory is given back
    if (this.exited) return;
    let answer: Answer;
    try {
      answer = this.channel.received(envelope);
    } catch (error) {
      this.stderr += (error as Error).message;
      return this.kill();
    }
    onAnswer(answer);
  }

  kill(): void {
    this.process.kill('SIGKILL');
  }

  /**
   * Ends the process by closing its channel, and by force when it is too busy to notice. Resolves when it is gone; or is not, some seconds
   * after that, for a process that a driver holds takes no signal.
   */
  async stop(): Promise<void> {
    if (this.exited) return;
    if (this.process.connected) this.process.disconnect();
    const force = setTimeout(() => this.kill(), STOP_GRACE_MS);
    await soon(this.gone, 3 * STOP_GRACE_MS);
    clearTimeout(force);
  }
}
