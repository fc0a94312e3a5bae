import type { Node, NodeAPI, NodeMessage } from 'node-red';
import { GoodpartsError } from '../engine/errors';
import { NEAREST } from '../engine/recognise';
import { checkName } from '../engine/store';
import { nameOf, readProperty, type Property } from './property';

/** As `recipeOf`; `*` is allowed, too: the detector that is nearest to the picture. */
export async function recipeOrNearest(
  ...[RED, node, property, msg, fallback]: Parameters<typeof recipeOf>
): Promise<string> {
  const value = property.value === '' ? undefined : await readProperty(RED, node, property, msg);
  return value === NEAREST ? NEAREST : recipeOf(RED, node, property, msg, fallback);
}

/**
 * The detector that a message is for: from the message where the node says so, else the model's.
 * A recipe that is configured but absent is an error: taking the model's detector instead would judge the wrong product.
 * @throws GoodpartsError `input-missing`, `name-invalid`
 */
export async function recipeOf(
  RED: NodeAPI,
  node: Node,
  property: Property,
  msg: NodeMessage,
  fallback: string
): Promise<string> {
  if (property.value === '') return checkName(fallback);
  const value = await readProperty(RED, node, property, msg);
  if (typeof value === 'number') return checkName(String(value));
  if (typeof value === 'string' && value !== '') return checkName(value);
  throw new GoodpartsError('input-missing', `${nameOf(property)} holds no detector name.`);
}
