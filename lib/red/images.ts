import { types } from 'node:util';
import type { NodeMessage } from 'node-red';
import { GoodpartsError } from '../engine/errors';
import type { ImageInput, ImageLimits, RawImage } from '../engine';
import { allowedFile, checkBytes, readBounded } from './paths';

export interface ImageRules {
  limits: ImageLimits;
  /** folders that paths in messages may point into; relative paths start at the first */
  folders: readonly string[];
}

/** What a message brought: its pictures as they are, not yet read from disk or decoded from text. */
export interface Pictures {
  sources: unknown[];
  /** the message held an array, so its result is an array too */
  many: boolean;
}

/** A picture as text starts like this in base64: JPEG, PNG, GIF, WebP, TIFF (both byte orders), AVIF. */
const BASE64_STARTS = ['/9j/', 'iVBORw0KGgo', 'R0lGOD', 'UklGR', 'SUkqA', 'TU0AK', 'AAAAIGZ0', 'AAAAHGZ0', 'AAAAGGZ0'];
const NOT_BASE64 = /[^\w+/=\s-]/;
const LONGEST_PATH = 4096;

type Fields = Record<string, unknown>;
const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
const isBytes = (value: unknown): value is Uint8Array => value instanceof Uint8Array;

/** The bytes inside what other nodes wrap them in: a Buffer that went through JSON, a Kafka record, an upload. */
function unwrap(value: unknown): unknown {
  if (!isObject(value) || isBytes(value)) return value;
  if (isRaw(value)) return isBytes(value.data) ? value : { ...value, data: unwrap(value.data) };
  if (types.isAnyArrayBuffer(value)) return Buffer.from(value);
  // made in a function node, which has classes of its own
  if (types.isUint8Array(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (value.type === 'Buffer' && Array.isArray(value.data)) return Buffer.from(value.data as number[]);
  return isBytes(value.buffer) ? value.buffer : isBytes(value.value) ? value.value : value;
}

function isRaw(value: unknown): value is RawImage {
  return isObject(value) && 'data' in value && 'width' in value && 'height' in value;
}

const uploadsOf = (msg: NodeMessage): unknown[] => {
  const files = isObject(msg.req) ? msg.req.files : undefined;
  return Array.isArray(files) ? files : isObject(files) ? Object.values(files).flat() : [];
};

/**
 * Finds the pictures of a message: the property's value, each entry of an array, or the uploads of an HTTP request when
 * the property holds none.
 * @returns no sources when there is nothing that could be a picture
 */
export function picturesOf(value: unknown, msg: NodeMessage): Pictures {
  if (Array.isArray(value)) return { sources: value.map(unwrap), many: true };
  const one = unwrap(value);
  if (isBytes(one) || isRaw(one) || (typeof one === 'string' && one !== '')) return { sources: [one], many: false };
  const uploads = uploadsOf(msg);
  // the fields of a form come in the payload, the picture beside it
  if (uploads.length > 0) return { sources: uploads.map(unwrap), many: uploads.length > 1 };
  return { sources: [], many: false };
}

/** Bytes that a source holds in memory while it waits. */
export function bytesOf(source: unknown): number {
  if (isBytes(source)) return source.byteLength;
  if (typeof source === 'string') return source.length;
  return isRaw(source) && isBytes(source.data) ? source.data.byteLength : 0;
}

/**
 * Brings one source to what the engine takes: an encoded picture's bytes or raw pixels.
 * @throws GoodpartsError `input-missing`, `image-empty`, `image-too-large`, `image-raw`, `path-forbidden`, `path-missing`
 */
export async function readPicture(source: unknown, rules: ImageRules): Promise<ImageInput> {
  if (typeof source === 'string') return readText(source.trim(), rules);
  if (isBytes(source)) {
    checkBytes(source.byteLength, rules.limits.maxBytes, 'The image');
    return source;
  }
  if (isRaw(source)) return readRaw(source, rules.limits);
  throw noPicture('The entry', source);
}

/** The error for something that is no picture; `where` names the property that was read. */
export function noPicture(where: string, value: unknown): GoodpartsError {
  const kind = value === null || value === undefined ? 'nothing' : value === '' ? 'an empty text' : kindOf(value);
  return new GoodpartsError(
    'input-missing',
    `${where} holds ${kind}, not an image: a Buffer, a file path, base64, a data URI or {data, width, height, channels}.`
  );
}

const kindOf = (value: unknown) =>
  Array.isArray(value) ? `an array of ${value.length}` : `a value of type ${typeof value}`;

function readRaw({ data, width, height, channels }: RawImage, { maxPixels }: ImageLimits): RawImage {
  if (!isBytes(data))
    throw new GoodpartsError('image-raw', 'The data of a raw image must be a Buffer of 8-bit channels.');
  checkBytes(data.byteLength, maxPixels * 4, 'The raw image');
  if (![width, height, channels].every(n => typeof n === 'number'))
    throw new GoodpartsError('image-raw', 'Width, height and channels of a raw image must be numbers.');
  return { data, width, height, channels };
}

async function readText(text: string, { limits, folders }: ImageRules): Promise<Buffer> {
  const base64 = base64Of(text);
  if (base64 === undefined) return readBounded(await allowedFile(pathOf(text), folders), limits.maxBytes);
  checkBytes(base64.length * 0.75, limits.maxBytes, 'The image');
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length === 0) throw new GoodpartsError('image-empty', 'The base64 text holds no image.');
  return bytes;
}

function base64Of(text: string): string | undefined {
  if (text.startsWith('data:')) return dataUri(text);
  const looksEncoded = text.length > 64 && BASE64_STARTS.some(start => text.startsWith(start));
  return looksEncoded || (text.length > LONGEST_PATH && !NOT_BASE64.test(text)) ? text : undefined;
}

function pathOf(text: string): string {
  // a page of HTML or a report, sent by mistake: not worth asking the disk for
  if (text !== '' && text.length <= LONGEST_PATH && !text.startsWith('<') && !/[\r\n]/.test(text)) return text;
  throw new GoodpartsError('image-format', 'The text is neither a file path nor an image in base64.');
}

function dataUri(text: string): string {
  const comma = text.indexOf(',');
  if (comma > 0 && text.slice(0, comma).endsWith(';base64')) return text.slice(comma + 1);
  throw new GoodpartsError('image-unreadable', 'The data URI must be in base64: data:image/...;base64,...');
}
