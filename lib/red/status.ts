import type { Node, NodeAPI, NodeStatusFill, NodeStatusShape } from 'node-red';

const LONGEST_TEXT = 20;
const QUIET_MS = 250;

/** Cuts a detector's name so that the rest of a status text still fits. */
export const short = (name: string, room: number): string =>
  name.length <= room ? name : `${name.slice(0, Math.max(1, room - 1))}…`;

/**
 * A node's status: from i18n keys or from plain text, never longer than what the editor shows, and at most four changes a
 * second, the last of which always arrives (each one goes to every open editor).
 */
export class Status {
  private closed = false;
  private shown = '';
  private next?: { fill: NodeStatusFill; shape: NodeStatusShape; text: string };
  private timer?: NodeJS.Timeout;

  constructor(
    private readonly node: Node,
    private readonly translate: NodeAPI['_']
  ) {}

  /** @param key of `status.<key>` in the node's locale files */
  key(fill: NodeStatusFill, shape: NodeStatusShape, key: string, values: Record<string, string | number> = {}): void {
    this.text(fill, shape, this.translate(`status.${key}`, values));
  }

  /** As `key`, but at once and never skipped: for what happens seldom and must be seen. */
  event(fill: NodeStatusFill, shape: NodeStatusShape, key: string, values?: Record<string, string | number>): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.key(fill, shape, key, values);
  }

  text(fill: NodeStatusFill, shape: NodeStatusShape, text: string): void {
    if (this.closed) return;
    this.next = { fill, shape, text: short(text, LONGEST_TEXT) };
    this.timer ??= this.flush();
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
  }

  private flush(): NodeJS.Timeout | undefined {
    const next = this.next;
    this.next = undefined;
    if (!next || JSON.stringify(next) === this.shown) return undefined;
    this.shown = JSON.stringify(next);
    this.node.status(next);
    return setTimeout(() => (this.timer = this.flush()), QUIET_MS);
  }
}
