import type { NodeAPI, NodeMessage } from 'node-red';

export type Message = NodeMessage;
export type Send = (msg: NodeMessage | (NodeMessage | null)[]) => void;
export type Done = (error?: Error) => void;

/** Memory that the waiting messages of one node may hold. */
const MOST_BYTES = 512 * 2 ** 20;

/** How much one node may keep waiting: Node-RED's own setting for message buffers where it is set, else `otherwise`. */
export function mostWaiting(RED: NodeAPI, otherwise: number): { hardBound: number; maxBytes: number } {
  const set = Number((RED.settings as { nodeMessageBufferMaxLength?: number }).nodeMessageBufferMaxLength);
  return { hardBound: set > 0 ? set : otherwise, maxBytes: MOST_BYTES };
}
