import sharp from 'sharp';
import { GoodpartsError } from './errors';
import type { ImageInput, ImageLimits, RawImage } from './types';

export const DEFAULT_LIMITS: ImageLimits = { maxBytes: 64e6, maxPixels: 100e6, maxSide: 20000 };

/** An upright RGB picture: uint8, row-major, interleaved, `data.length === width * height * 3`. */
export interface Picture {
  data: Uint8Array;
  width: number;
  height: number;
}

const FORMATS = 'JPEG, PNG, WebP, TIFF, GIF or AVIF';
const ascii = (bytes: Uint8Array, from: number, to: number): string =>
  Buffer.from(bytes.subarray(from, to)).toString('latin1');

/** The kind of file by its first bytes, so that no parser is started for a file that is refused anyway. */
function sniff(bytes: Uint8Array): { format?: string; looksLike?: string } {
  const head = ascii(bytes, 0, 512);
  if (head.startsWith('\xff\xd8\xff')) return { format: 'jpeg' };
  if (head.startsWith('\x89PNG\r\n\x1a\n')) return { format: 'png' };
  if (head.startsWith('RIFF') && head.slice(8, 12) === 'WEBP') return { format: 'webp' };
  if (/^(II[*+]\0|MM\0[*+])/.test(head)) return { format: 'tiff' };
  if (head.startsWith('GIF8')) return { format: 'gif' };
  if (head.slice(4, 8) === 'ftyp' && /avi[fs]|mif1|msf1/.test(head.slice(8, 40))) return { format: 'avif' };
  if (head.startsWith('%PDF')) return { looksLike: 'a PDF' };
  if (head.startsWith('BM')) return { looksLike: 'a BMP' };
  const text = head
    .replace(/^\xef\xbb\xbf/, '')
    .trimStart()
    .toLowerCase();
  if (/<svg/.test(text)) return { looksLike: 'an SVG drawing' };
  if (/^<(!doctype html|html|head|body)/.test(text)) return { looksLike: 'a web page (HTML)' };
  if (!/[\x00-\x08\x0e-\x1f]/.test(head)) return { looksLike: 'text' };
  return { looksLike: 'an unknown file' };
}

function checkSize(width: number, height: number, limits: ImageLimits): void {
  if (width * height > limits.maxPixels || Math.max(width, height) > limits.maxSide)
    throw new GoodpartsError(
      'image-too-large',
      `The image is ${width} x ${height} pixels; the limit is ${Math.round(limits.maxPixels / 1e6)} megapixels and ${limits.maxSide} pixels a side. Raise the limit in the model's settings or send a smaller image.`,
      { width, height }
    );
}

function openRaw({ data, width, height, channels }: RawImage, limits: ImageLimits): sharp.Sharp {
  const whole = [width, height].every(n => Number.isInteger(n) && n > 0) && [1, 3, 4].includes(channels);
  if (!whole || !(data instanceof Uint8Array) || data.length !== width * height * channels)
    throw new GoodpartsError(
      'image-raw',
      `Raw pixels need data of width x height x channels bytes with 1, 3 or 4 channels; got ${data?.length} bytes for ${width} x ${height} x ${channels}.`
    );
  checkSize(width, height, limits);
  return sharp(data, { raw: { width, height, channels }, limitInputPixels: false });
}

async function openEncoded(bytes: Uint8Array, limits: ImageLimits): Promise<sharp.Sharp> {
  if (bytes.length === 0) throw new GoodpartsError('image-empty', 'The image is empty (0 bytes).');
  if (bytes.length > limits.maxBytes)
    throw new GoodpartsError(
      'image-too-large',
      `The image file is ${(bytes.length / 1e6).toFixed(1)} MB; the limit is ${(limits.maxBytes / 1e6).toFixed(0)} MB. Raise it in the model's settings.`,
      { bytes: bytes.length }
    );
  const { format, looksLike } = sniff(bytes);
  if (!format)
    throw new GoodpartsError(
      'image-format',
      `This is ${looksLike}, not an image that can be inspected. Send ${FORMATS}.`
    );
  const image = sharp(bytes, { limitInputPixels: false, failOn: 'error', sequentialRead: true });
  const { width, height, pages = 1 } = await image.metadata();
  checkSize(width, height, limits);
  if (pages > 1 && format !== 'gif')
    throw new GoodpartsError(
      'image-pages',
      `The ${format.toUpperCase()} file holds ${pages} pictures; send one picture a message.`,
      { pages }
    );
  return image;
}

/**
 * Opens a picture as an upright 8-bit sRGB pipeline: EXIF orientation applied, embedded colour profile converted,
 * 16 bit scaled to 8, grey and CMYK converted to RGB, transparent pixels laid on black, the first frame of a GIF.
 * @throws GoodpartsError `image-empty`, `image-format`, `image-too-large`, `image-pages`, `image-raw`, `image-unreadable`
 */
export async function openImage(input: ImageInput, limits: Partial<ImageLimits> = {}): Promise<sharp.Sharp> {
  const bounds = { ...DEFAULT_LIMITS, ...limits };
  try {
    const image = input instanceof Uint8Array ? await openEncoded(input, bounds) : openRaw(input, bounds);
    return image.autoOrient().flatten({ background: '#000' }).toColourspace('srgb');
  } catch (error) {
    throw unreadable(error);
  }
}

/** Decodes a picture to RGB pixels; see `openImage` for what is converted and what is thrown. */
export async function decode(input: ImageInput, limits: Partial<ImageLimits> = {}): Promise<Picture> {
  const image = await openImage(input, limits);
  try {
    const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    return { data: info.channels === 3 ? data : spread(data), width: info.width, height: info.height };
  } catch (error) {
    throw unreadable(error);
  }
}

/** Grey to RGB, where the pipeline leaves a single channel. */
function spread(grey: Uint8Array): Uint8Array {
  const rgb = new Uint8Array(grey.length * 3);
  for (let i = 0; i < grey.length; i++) rgb.fill(grey[i], i * 3, i * 3 + 3);
  return rgb;
}

/** What libvips says of a picture that it opened but cannot read to its end, as an error of ours. */
export function unreadable(error: unknown): GoodpartsError {
  if (error instanceof GoodpartsError) return error;
  const why = (error as Error).message.split('\n')[0];
  return new GoodpartsError('image-unreadable', `The image cannot be read, it is damaged or cut off: ${why}`);
}
