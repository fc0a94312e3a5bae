import fs from 'node:fs/promises';
import path from 'node:path';
import type { Engine, FitOptions, FitProgress, FitResult, FitSettings } from './engine';
import { GoodpartsError } from './engine/errors';

/** What counts as a picture in a folder. BMP is among them so that the engine can say that it does not read it. */
const SUFFIXES = new Set(['.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff', '.gif', '.avif', '.bmp']);

/**
 * The visible entries of a folder, sorted by name so that the order is the same on every machine; links are followed.
 * @throws GoodpartsError `path-missing`
 */
export async function entries(folder: string): Promise<{ name: string; path: string; kind: 'file' | 'folder' }[]> {
  let names: string[];
  try {
    names = await fs.readdir(folder);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const why =
      code === 'ENOENT' ? 'does not exist' : code === 'ENOTDIR' ? 'is not a folder' : `cannot be read (${code})`;
    throw new GoodpartsError('path-missing', `${folder} ${why}.`);
  }
  const found = [];
  for (const name of names.filter(n => !n.startsWith('.')).sort()) {
    const full = path.join(folder, name);
    const stat = await fs.stat(full).catch(() => null); // a dangling link
    if (stat?.isDirectory()) found.push({ name, path: full, kind: 'folder' as const });
    else if (stat?.isFile()) found.push({ name, path: full, kind: 'file' as const });
  }
  return found;
}

/** The pictures directly in a folder. */
export async function picturesIn(folder: string): Promise<string[]> {
  const files = (await entries(folder)).filter(e => e.kind === 'file');
  return files.filter(e => SUFFIXES.has(path.extname(e.name).toLowerCase())).map(e => e.path);
}

/** @throws GoodpartsError `path-missing` */
export async function readPicture(file: string): Promise<Buffer> {
  try {
    return await fs.readFile(file);
  } catch (error) {
    throw new GoodpartsError('path-missing', `${file} cannot be read (${(error as NodeJS.ErrnoException).code}).`);
  }
}

/** The same error, saying which file met it. */
export function about(file: string, error: unknown): unknown {
  if (!(error instanceof GoodpartsError) || error.message.startsWith(file)) return error;
  return new GoodpartsError(error.code, `${file}: ${error.message}`, error.details);
}

export interface FitFilesOptions extends FitOptions {
  /** a file that could not be used; the fit goes on without it. Default: it ends the fit. */
  onBad?: (error: GoodpartsError) => void;
}

/** Fits a detector from files, one in memory at a time. Progress of the stage `images` counts files. */
export async function fitFiles(
  engine: Engine,
  name: string,
  files: string[],
  settings: FitSettings,
  { signal, onProgress, onBad }: FitFilesOptions = {}
): Promise<FitResult> {
  const afterImages = (progress: FitProgress) => progress.stage !== 'images' && onProgress?.(progress);
  const session = await engine.startFit(name, settings, {
    signal,
    images: files.length,
    onProgress: afterImages
  });
  try {
    for (const [done, file] of files.entries()) {
      onProgress?.({ stage: 'images', done, total: files.length });
      try {
        await session.add(await readPicture(file));
      } catch (error) {
        const named = about(file, error);
        if (signal?.aborted || !onBad || !(named instanceof GoodpartsError)) throw named;
        onBad(named);
      }
    }
    onProgress?.({ stage: 'images', done: files.length, total: files.length });
    return await session.finish();
  } catch (error) {
    session.abort();
    throw error;
  }
}
