import type { Node } from 'node-red';
import type { Logger } from 'pino';
import { GoodpartsError } from '../engine/errors';
import { LogFile } from './log-file';
import { countError } from './metrics/counts';
import { once, type Done, type Message } from './messages';

/** One part, as far as it came; never its picture. */
export interface PartLine {
  /** `name@version`, or the name alone where nothing was scored */
  detector?: string;
  score?: number;
  threshold?: number;
  verdict: 'ok' | 'review' | 'ng' | 'dropped' | 'error';
  /** from decoding to the map */
  ms?: number;
  /** which picture of the message, where it held several */
  picture?: number;
  /** of an error, stable */
  code?: string;
  error?: string;
}

const LEVELS: Partial<Record<PartLine['verdict'], 'warn' | 'error'>> = { dropped: 'warn', error: 'error' };
const LONGEST_ID = 200;

type Pino = typeof import('pino');

/** pino is an optional dependency: a plant may install without it. */
function loadPino(): Pino | undefined {
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- it may be missing
    return require('pino') as Pino;
  } catch {
    return undefined;
  }
}

/** The log of parts of one model: a line of JSON for each part that was judged, dropped, or could not be scored. */
export class PartLog {
  private readonly logger: Logger;

  private constructor(
    pino: Pino,
    private readonly stream: LogFile,
    private readonly idOf: (msg: Message) => unknown
  ) {
    const options = {
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level: string) => ({ level }) }
    };
    this.logger = pino.pino(options, stream);
  }

  /**
   * @param place `stdout`, or a file; models with the same file share it
   * @param idOf what names the part in a message
   * @param warn told once, in a sentence, when lines are lost
   * @returns undefined when pino is not installed
   */
  static open(place: string, idOf: (msg: Message) => unknown, warn: (text: string) => void): PartLog | undefined {
    const pino = loadPino();
    if (!pino) {
      warn(`No log of parts is written: the package "pino" is not installed. Run: npm install pino`);
      return undefined;
    }
    return new PartLog(pino, LogFile.open(place, warn), idOf);
  }

  part(node: Node, msg: Message, line: PartLine): void {
    const id = this.idOf(msg);
    const named = typeof id === 'number' || (typeof id === 'string' && id !== '');
    const part = typeof id === 'string' ? id.slice(0, LONGEST_ID) : id;
    this.logger[LEVELS[line.verdict] ?? 'info']({ node: node.name || node.id, ...(named && { part }), ...line });
  }

  /** Resolves when all lines are written. */
  close(): Promise<void> {
    return this.stream.close();
  }
}

/** A `done` that answers once; an error is counted, and written to the log of parts as the part's line. */
export function watched(node: Node, msg: Message, log: PartLog | undefined, done: Done): Done {
  return once(node, error => {
    if (error) {
      countError(node.type, error);
      const code = error instanceof GoodpartsError ? error.code : undefined;
      log?.part(node, msg, { verdict: 'error', ...(code && { code }), error: error.message.slice(0, 500) });
    }
    done(error);
  });
}
