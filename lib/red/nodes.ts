import type { Node, NodeAPI, NodeDef } from 'node-red';
import type { Calibration } from '../engine';
import type { Model } from './model';

/** An anomaly-model node as other nodes meet it. */
export interface ModelNode extends Node {
  model: Model;
  calibration(name: string, version: string): Promise<Calibration>;
}

/** The fields that anomaly-fit and anomaly-score share. */
export interface UserConfig extends NodeDef {
  model: string;
  image: string;
  imageType: string;
  recipe: string;
  recipeType: string;
}

/** The model that a node's configuration names, where it names one. */
export const modelIfAny = (RED: NodeAPI, config: { model: string }): Model | undefined =>
  (RED.nodes.getNode(config.model) as ModelNode | null)?.model;

/** The model that a node's configuration names; without one the node says so in its status and cannot work. */
export function modelOf(RED: NodeAPI, node: Node, config: { model: string }): Model | undefined {
  const found = modelIfAny(RED, config);
  if (found) return found;
  node.status({ fill: 'red', shape: 'ring', text: RED._('status.error') });
  return undefined;
}

/** The typed properties that both nodes read. */
export const propertiesOf = (config: UserConfig) => ({
  image: { value: config.image || 'payload', type: config.imageType || 'msg' },
  recipe: { value: config.recipe ?? '', type: config.recipeType || 'msg' }
});

/** A number field of the editor: blank and nonsense become the default. */
export const numberOf = (value: unknown, otherwise: number): number =>
  value !== '' && Number.isFinite(Number(value ?? NaN)) ? Math.max(0, Math.floor(Number(value))) : otherwise;

/** A number field of the editor that may stay blank; nonsense counts as blank. */
export const optionalNumber = (value: unknown): number | undefined =>
  String(value ?? '').trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : undefined;
