import type { Model } from './model';

/** The queue of an anomaly-score node, as others may look at it. */
export interface LiveQueue {
  /** the node's name, else its id */
  node: string;
  /** messages that wait */
  waiting: () => number;
  /** messages that may wait before the policy acts */
  bound: number;
}

/** What is deployed in this Node-RED process now: its health and its metrics are read from it. */
export const models = new Set<Model>();
export const queues = new Set<LiveQueue>();
