import fs from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { GoodpartsError } from '../engine/errors';

const inside = (folder: string, file: string): boolean => {
  const relative = path.relative(folder, file);
  return relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
};

const forbidden = (file: string) =>
  new GoodpartsError(
    'path-forbidden',
    `${file} is outside the folders that pictures may be read from. Add its folder to the allowed folders of the model.`,
    { path: file }
  );

const missing = (file: string, why: string) =>
  new GoodpartsError('path-missing', `${file} cannot be read: ${why}.`, { path: file });

const reasons: Record<string, string> = { ENOENT: 'there is no such file', EACCES: 'access is denied' };

async function real(file: string): Promise<string> {
  try {
    return await fs.realpath(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw missing(file, reasons[code ?? ''] ?? message);
  }
}

const realFolders = async (folders: readonly string[]): Promise<string[]> => {
  const found = await Promise.allSettled(folders.map(folder => fs.realpath(folder)));
  return found.flatMap(entry => (entry.status === 'fulfilled' ? [entry.value] : []));
};

const absolute = (text: string, base: string): string => {
  try {
    return path.resolve(base, text.startsWith('file:') ? fileURLToPath(text) : text);
  } catch {
    throw missing(text, 'it is not a path');
  }
};

/**
 * The true path of an existing file inside one of `folders`; relative paths start at the first folder.
 * Names outside are refused before the disk is asked, so that nobody learns what exists there; links are followed and
 * must end inside as well.
 * @throws GoodpartsError `path-forbidden`, `path-missing`
 */
export async function allowedFile(text: string, folders: readonly string[]): Promise<string> {
  if (text.includes('\0')) throw missing(JSON.stringify(text), 'it is not a path');
  const file = absolute(text, folders[0]);
  const roots = await realFolders(folders);
  if (![...folders, ...roots].some(folder => inside(folder, file))) throw forbidden(file);
  const target = await real(file);
  if (!roots.some(folder => inside(folder, target))) throw forbidden(file);
  return target;
}

/**
 * Reads a whole file, unless it is larger than `maxBytes`.
 * @throws GoodpartsError `path-missing`, `image-too-large`
 */
export async function readBounded(file: string, maxBytes: number): Promise<Buffer> {
  try {
    const { size, ...stat } = await fs.stat(file).then(s => ({ size: s.size, isFile: s.isFile() }));
    if (!stat.isFile) throw missing(file, 'it is not a file');
    checkBytes(size, maxBytes, file);
    return await fs.readFile(file);
  } catch (error) {
    if (error instanceof GoodpartsError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw missing(file, reasons[code ?? ''] ?? message);
  }
}

/** @throws GoodpartsError `image-too-large` */
export function checkBytes(bytes: number, maxBytes: number, what: string): void {
  if (bytes <= maxBytes) return;
  const mega = (n: number) => (n / 2 ** 20).toFixed(1);
  throw new GoodpartsError('image-too-large', `${what} has ${mega(bytes)} MB; the limit is ${mega(maxBytes)} MB.`, {
    bytes,
    maxBytes
  });
}
