import fs from 'node:fs';
import path from 'node:path';
import { GoodpartsError } from './errors';

/** One file of a backbone: where it comes from, and what it has to be. */
export interface CatalogueFile {
  /** as the publisher calls it; the file in the store has the same name, so that nobody has to rename it */
  name: string;
  url: string;
  /** other places of the same bytes */
  mirrors: string[];
  sha256: string;
  /** null where nobody has measured it */
  bytes: number | null;
}

/** A backbone that the package knows and does not bring along; field names as in models/catalogue.json. */
export interface CatalogueEntry {
  id: string;
  /** the one to take where the embedded backbone is not enough */
  default?: boolean;
  /** downloaded only once its licence has been accepted */
  optIn?: boolean;
  url: string;
  mirrors: string[];
  sha256: string;
  bytes: number | null;
  /** files beside the model that hold its weights */
  data?: Omit<CatalogueFile, 'name'>[];
  licence: string;
  publisher?: string;
  /** key of a sentence in `caveats` */
  caveat: string;
  opset?: number;
  input: { name: string; shape?: (number | string)[]; layout?: 'NCHW' | 'NHWC'; multiple_of?: number };
  mean: number[];
  std: number[];
  /** tensors to take, shallow first; without them the structure of the network says */
  taps?: string[];
  channels?: number[];
  /** tokens of a transformer before those of the patches */
  skip_tokens?: number;
}

export interface Catalogue {
  /** what a licence does not say by its name, in English; the editor has them in its own languages */
  caveats: Record<string, string>;
  catalogue: CatalogueEntry[];
}

/** What a backbone may be called. A name becomes a folder, so it is never a path; `.onnx` at the end means a file. */
const ID = /^(?!\.+$)(?!.*\.onnx$)[A-Za-z0-9._-]{1,64}$/i;
export const isBackboneId = (text: string): boolean => ID.test(text) && text !== 'embedded';

/** No path, no hidden file. */
const FILE_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/;

type Test = (value: unknown) => boolean;
const text: Test = value => typeof value === 'string' && value.trim() === value && value !== '';
const whole: Test = value => Number.isInteger(value) && (value as number) > 0;
const list =
  (of: Test, length?: number): Test =>
  value =>
    Array.isArray(value) && value.every(of) && (length === undefined || value.length === length);
const optional =
  (of: Test): Test =>
  value =>
    value === undefined || of(value);
const object =
  (fields: Record<string, Test>): Test =>
  value =>
    wrong(value, fields) === undefined;
const address: Test = value => text(value) && isHttp(String(value));

function isHttp(url: string): boolean {
  try {
    return /^https?:$/.test(new URL(url).protocol);
  } catch {
    return false;
  }
}

const FILE: Record<string, Test> = {
  url: address,
  mirrors: list(address),
  sha256: value => /^[0-9a-f]{64}$/.test(String(value)),
  bytes: value => value === null || whole(value)
};
const INPUT: Record<string, Test> = {
  name: text,
  shape: optional(list(value => text(value) || whole(value), 4)),
  layout: optional(value => value === 'NCHW' || value === 'NHWC'),
  multiple_of: optional(whole)
};
const ENTRY: Record<string, Test> = {
  ...FILE,
  id: value => isBackboneId(String(value)),
  default: optional(value => value === true),
  optIn: optional(value => value === true),
  data: optional(list(object(FILE))),
  licence: text,
  publisher: optional(text),
  caveat: text,
  opset: optional(whole),
  input: object(INPUT),
  mean: list(value => Number.isFinite(value), 3),
  std: list(value => Number.isFinite(value) && (value as number) > 0, 3),
  taps: optional(value => list(text)(value) && (value as unknown[]).length > 0),
  channels: optional(list(whole)),
  skip_tokens: optional(value => Number.isInteger(value) && (value as number) >= 0)
};

/** The first field that is not what it has to be, or that nobody knows. */
function wrong(value: unknown, fields: Record<string, Test>): string | undefined {
  if (typeof value !== 'object' || value === null) return '';
  const unknown = Object.keys(value).find(key => !Object.hasOwn(fields, key));
  return unknown ?? Object.keys(fields).find(key => !fields[key]((value as Record<string, unknown>)[key]));
}

/** @throws GoodpartsError `backbone-missing` naming the entry and the field that is wrong */
export function parseCatalogue(value: unknown, where: string): Catalogue {
  const refuse = (what: string): never => {
    throw new GoodpartsError('backbone-missing', `${where} is no catalogue of backbones: ${what}.`);
  };
  const { caveats, catalogue } = (value ?? {}) as Partial<Catalogue>;
  if (!Array.isArray(catalogue)) return refuse('it has no list "catalogue"');
  if (typeof caveats !== 'object' || !Object.values(caveats ?? {}).every(text)) return refuse('it has no "caveats"');
  const seen = new Set<string>();
  for (const entry of catalogue) {
    const field = wrong(entry, ENTRY);
    if (field !== undefined) return refuse(`the entry ${JSON.stringify(entry?.id)} has a wrong "${field}"`);
    if (!Object.hasOwn(caveats, entry.caveat)) return refuse(`there is no caveat "${entry.caveat}"`);
    const names = filesOf(entry).map(file => file.name);
    if (!names.every(name => FILE_NAME.test(name)) || new Set(names).size < names.length)
      return refuse(`the addresses of ${entry.id} do not end in file names, each another one`);
    // file systems that take A and a for the same would mix them up
    if (seen.has(entry.id.toLowerCase())) return refuse(`${entry.id} is in it twice`);
    seen.add(entry.id.toLowerCase());
  }
  return { caveats, catalogue };
}

const SHIPPED = path.resolve(__dirname, '../../../models/catalogue.json');
const known = new Map<string, Catalogue>();

/**
 * The catalogue that comes along, or the one that the environment variable GOODPARTS_CATALOGUE names: a plant may have the files
 * on a server of its own.
 */
export function readCatalogue(file = process.env.GOODPARTS_CATALOGUE || SHIPPED): Catalogue {
  const before = known.get(file);
  if (before) return before;
  let value: unknown;
  try {
    value = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    throw new GoodpartsError('backbone-missing', `The catalogue ${file} cannot be read: ${(error as Error).message}.`);
  }
  const catalogue = parseCatalogue(value, file);
  known.set(file, catalogue);
  return catalogue;
}

export const entryOf = (id: string, { catalogue } = readCatalogue()): CatalogueEntry | undefined =>
  catalogue.find(entry => entry.id === id);

const nameOf = (url: string): string => new URL(url).pathname.split('/').at(-1) ?? '';

/** The files of an entry, the model first. */
export function filesOf({ url, mirrors, sha256, bytes, data }: CatalogueEntry): CatalogueFile[] {
  const model = { url, mirrors, sha256, bytes };
  return [model, ...(data ?? [])].map(file => ({ name: nameOf(file.url), ...file }));
}

/** The entry, and its file, of these bytes. */
export function fileOfSum(sha256: string): { entry: CatalogueEntry; file: CatalogueFile } | undefined {
  for (const entry of readCatalogue().catalogue)
    for (const file of filesOf(entry)) if (file.sha256 === sha256) return { entry, file };
  return undefined;
}
