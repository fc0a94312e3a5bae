import type { Node, NodeAPI, NodeMessage } from 'node-red';

export type Message = NodeMessage;
export type Send = (msg: NodeMessage | (NodeMessage | null)[]) => void;
export type Done = (error?: Error) => void;

/**
 * A `done` that answers once and never throws: what throws while a message is sent on, or in a node that listens for its
 * completion, must neither answer it a second time nor stop the messages behind it.
 */
export function once(node: Node, done: Done): Done {
  let answered = false;
  return error => {
    if (answered) return;
    answered = true;
    try {
      done(error);
    } catch (thrown) {
      node.warn((thrown as Error).message);
    }
  };
}

/** Memory that the waiting messages of one node may hold. */
const MOST_BYTES = 512 * 2 ** 20;

/** How much one node may keep waiting: Node-RED's own setting for message buffers where it is set, else `otherwise`. */
export function mostWaiting(RED: NodeAPI, otherwise: number): { hardBound: number; maxBytes: number } {
  const set = Number((RED.settings as { nodeMessageBufferMaxLength?: number }).nodeMessageBufferMaxLength);
  return { hardBound: set > 0 ? set : otherwise, maxBytes: MOST_BYTES };
}
