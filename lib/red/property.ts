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
