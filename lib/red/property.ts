import type { Node, NodeAPI, NodeMessage } from 'node-red';
import { GoodpartsError } from '../engine/errors';

/** A typedInput's two fields: what to read and where. */
export interface Property {
  value: string;
  type: string;
}

/** How a person would name the property: `msg.payload`, `flow.recipe`. */
export const nameOf = ({ value, type }: Property): string =>
  type === 'msg' || type === 'flow' || type === 'global' ? `${type}.${value}` : `${type} '${value}'`;

/**
 * Reads a typed property, also from an asynchronous context store.
 * @returns undefined when the property is absent
 * @throws GoodpartsError `input-missing` when it cannot be read at all
 */
export function readProperty(RED: NodeAPI, node: Node, property: Property, msg: NodeMessage): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) => {
      const why = cause instanceof Error ? cause.message : String(cause);
      reject(new GoodpartsError('input-missing', `${nameOf(property)} cannot be read: ${why}`));
    };
    try {
      RED.util.evaluateNodeProperty(property.value, property.type, node, msg, (error, value) =>
        error ? fail(error) : resolve(value)
      );
    } catch (error) {
      fail(error);
    }
  });
}

/**
 * Writes to a typed property: of the message, or of the flow or global context.
 * @throws GoodpartsError `input-missing` when it cannot be written, as for `msg.a.b` where `msg.a` is a number
 */
export async function writeProperty(
  RED: NodeAPI,
  node: Node,
  property: Property,
  msg: NodeMessage,
  value: unknown
): Promise<void> {
  try {
    if (property.type !== 'flow' && property.type !== 'global') {
      if (RED.util.setMessageProperty(msg, property.value, value, true)) return;
      throw new Error('something on the way there is not an object');
    }
    const { store, key } = RED.util.parseContextStore(property.value);
    const context = node.context()[property.type];
    await new Promise<void>((resolve, reject) =>
      context.set(key, value, store, error => (error ? reject(error) : resolve()))
    );
  } catch (error) {
    throw new GoodpartsError('input-missing', `${nameOf(property)} cannot be written: ${(error as Error).message}`);
  }
}
