/** Reads a node's editor page as the build made it, without a browser: its dialog, and what it registers. */
import fs from 'node:fs';
import path from 'node:path';
import vm from 'node:vm';
import { ROOT } from '../support';

export const TYPES = ['anomaly-model', 'anomaly-fit', 'anomaly-score', 'heatmap', 'threshold'] as const;
export type Type = (typeof TYPES)[number];

type Validator = (this: object, value: unknown, opt?: object) => true | false | string;

export interface Definition {
  defaults: Record<string, { value: unknown; type?: string; validate?: Validator }>;
  outputs?: number;
  icon?: string;
  outputLabels?(this: object, index: number): string;
  label(this: object): string;
}

export interface EditorPage {
  dialog: string;
  definition: Definition;
}

const parts = /<script type="text\/(html|javascript)"[^>]*>([\s\S]*?)<\/script>/g;

/** @param nodes what the editor's flow holds, by id */
export function editorPage(type: Type, nodes: Record<string, object> = {}): EditorPage {
  const page = fs.readFileSync(path.join(ROOT, 'dist/nodes', type, `${type}.html`), 'utf8');
  const found = Object.fromEntries([...page.matchAll(parts)].map(([, kind, text]) => [kind, text]));
  let definition: Definition | undefined;
  const RED = {
    nodes: {
      node: (id: string) => nodes[id],
      registerType: (name: string, registered: Definition) => {
        if (name === type) definition = registered;
      }
    },
    // Node-RED's own validator needs the browser; it is Node-RED that tests it
    validators: { typedInput: () => () => true }
  };
  // no dialog is open: whatever is looked up in one is not there
  vm.runInNewContext(found.javascript, { RED, $: () => ({ length: 0 }) });
  if (!definition) throw new Error(`${type}.html registers no ${type}`);
  return { dialog: found.html, definition };
}

export type Texts = { [key: string]: string | Texts };

/** All texts of a catalog by their dotted keys. */
export function flat(texts: Texts, prefix = ''): Record<string, string> {
  const entries = Object.entries(texts).map(([key, value]) =>
    typeof value === 'string' ? { [prefix + key]: value } : flat(value, `${prefix}${key}.`)
  );
  return Object.assign({}, ...entries) as Record<string, string>;
}

export const localeFolder = (type: Type): string => path.join(ROOT, 'nodes', type, 'locales');

export function catalog(type: Type, language: string): Record<string, string> {
  return flat(JSON.parse(fs.readFileSync(path.join(localeFolder(type), language, `${type}.json`), 'utf8')) as Texts);
}

export const fill = (text: string, values: Record<string, unknown> = {}): string =>
  text.replaceAll(/__(\w+?)__/g, (_, name: string) => String(values[name]));

/** A node as the editor holds it, with its texts in English. */
export function editorNode(type: Type, fields: object): object {
  const texts = catalog(type, 'en-US');
  return { ...fields, _: (key: string, values?: Record<string, unknown>) => fill(texts[key] ?? key, values) };
}
