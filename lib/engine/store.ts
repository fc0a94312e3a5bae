import crypto from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { GoodpartsError } from './errors';
import { decodeNpy, Npy } from './npy';
import type { DetectorInfo, DetectorKind } from './types';
import {
  Arrays,
  Files,
  filesOf,
  hashAside,
  INFO,
  parseInfo,
  parseSums,
  Stored,
  StoredInfo,
  SUMS,
  unfit,
  writeDurably,
  writeVersion
} from './version';

export type { Arrays, Files, Stored, StoredInfo };

const NAME = /^[A-Za-z0-9._-]{1,64}$/;
const VERSION = /^v[1-9]\d{0,8}$/;
const CURRENT = 'current';

/** @throws GoodpartsError `name-invalid`; a name becomes a folder, so it is never allowed to be a path */
export function checkName(name: unknown): string {
  if (typeof name !== 'string' || !NAME.test(name) || /^\.+$/.test(name))
    throw new GoodpartsError(
      'name-invalid',
      `"${String(name).slice(0, 80)}" is no detector name: use 1 to 64 letters, digits, dots, dashes and underscores.`
    );
  return name;
}

export interface StoredDetector<K extends DetectorKind = DetectorKind> {
  info: Stored<K>;
  arrays: Arrays;
  files: Files;
}

/**
 * Detectors on disk: `<folder>/<name>/v<n>/` with detector.json, arrays as .npy and SHA256SUMS (`sha256sum -c` checks it), and
 * `<folder>/<name>/current`, a text file with the version in use. A version is written beside and renamed into place; `current` is
 * replaced by a rename, too: a kill at any moment leaves the old state or the new one.
 */
export class DetectorStore {
  constructor(
    readonly folder: string,
    private readonly keepVersions = 5
  ) {}

  /** The detectors that have a version; none where the folder is missing. @throws GoodpartsError `path-missing` */
  async names(): Promise<string[]> {
    const entries = await fs
      .readdir(this.folder, { withFileTypes: true })
      .catch(unlessMissing([]))
      .catch((error: NodeJS.ErrnoException) => {
        const why = error.code === 'ENOTDIR' ? 'is not a folder' : `cannot be read (${error.code})`;
        throw new GoodpartsError('path-missing', `The detector store ${this.folder} ${why}.`);
      });
    const folders = entries.filter(e => e.isDirectory() && NAME.test(e.name)).map(e => e.name);
    const fitted = await Promise.all(folders.map(async name => (await this.versions(name)).length > 0));
    return folders.filter((_, i) => fitted[i]).sort();
  }

  /** All versions of all detectors, by name, newest first. @throws GoodpartsError `path-missing` */
  async list(): Promise<DetectorInfo[]> {
    const infos: DetectorInfo[] = [];
    for (const name of await this.names())
      for (const version of (await this.versions(name)).reverse()) {
        const info = await this.info(name, version).catch(() => undefined); // a damaged one is not offered
        if (info) infos.push(info);
      }
    return infos;
  }

  /** Versions of a detector, oldest first. */
  async versions(name: string): Promise<string[]> {
    const entries = await fs.readdir(this.place(name)).catch(() => []);
    return entries.filter(e => VERSION.test(e)).sort((a, b) => number(a) - number(b));
  }

  /** The version in use. @throws GoodpartsError `name-invalid`, `detector-unknown`, `detector-damaged` */
  async current(name: string): Promise<string> {
    const version = await this.pointer(name);
    const versions = await this.versions(name);
    if (versions.includes(version)) return version;
    if (!versions.length)
      throw new GoodpartsError(
        'detector-unknown',
        `There is no detector "${name}" yet: fit it with images of good parts first.`,
        { name }
      );
    // a fit may have replaced it, and removed that version, between the two looks
    if ((await this.pointer(name)) !== version) return this.current(name);
    const previous = versions.at(-1)!;
    throw new GoodpartsError(
      'detector-damaged',
      `Detector "${name}" is damaged: the file ${CURRENT} does not name one of its versions. ${advice(previous)}`,
      { name, file: CURRENT, previous }
    );
  }

  /** Changes when a version is replaced by another of the same number: a detector deleted and fitted anew starts at v1 again. */
  async stamp(name: string, version: string): Promise<string> {
    const stat = await fs.stat(this.place(name, checkVersion(version), INFO)).catch(() => undefined);
    return stat ? `${stat.ino}-${stat.mtimeMs}` : '';
  }

  /**
   * `detector.json` of a version (the current one by default), without reading its arrays.
   * @throws GoodpartsError `detector-unknown`, `detector-damaged`
   */
  async info(name: string, version?: string): Promise<Stored> {
    const inUse = await this.current(name).catch(error => (version ? '' : Promise.reject(error as Error)));
    const wanted = version ?? inUse;
    const text = await this.readFile(name, checkVersion(wanted), INFO);
    const info = parseInfo(text.toString('utf8'));
    if (!info) throw await this.damaged(name, wanted, INFO);
    return { ...info, name, version: wanted, current: wanted === inUse };
  }

  /** Reads a version and checks every file of it. @throws GoodpartsError `detector-unknown`, `detector-damaged` */
  async read(name: string, version: string): Promise<StoredDetector> {
    const info = await this.info(name, version);
    const sums = parseSums((await this.readFile(name, version, SUMS)).toString('utf8'));
    const listed = new Set(sums.map(s => s.file));
    if (!filesOf(info).every(file => listed.has(file))) throw await this.damaged(name, version, SUMS);
    const arrays: Arrays = {};
    const files: Files = {};
    const read = async ({ file, sha256 }: (typeof sums)[0]): Promise<void> => {
      const bytes = await this.readFile(name, version, file);
      if ((await hashAside(bytes)) !== sha256) throw await this.damaged(name, version, file);
      if (file.endsWith('.npy')) arrays[file.slice(0, -4)] = await this.decode(name, version, file, bytes);
      else if (file !== INFO) files[file] = bytes;
    };
    await Promise.all(sums.map(read));
    const wrong = unfit(arrays, info);
    if (wrong) throw await this.damaged(name, version, `${wrong}.npy`);
    return { info, arrays, files };
  }

  /**
   * Makes sure that a detector can be saved, before hours are spent on fitting it; makes the store's folder where it is missing.
   * @throws GoodpartsError `name-invalid`, `store-write`
   */
  async checkWritable(name: string): Promise<void> {
    const home = this.place(name);
    try {
      await fs.mkdir(this.folder, { recursive: true });
      const made = await fs.readdir(home).then(() => true, unlessMissing(false));
      await fs.access(made ? home : this.folder, fs.constants.W_OK);
    } catch (error) {
      throw await this.unwritable(name, error as Error);
    }
  }

  /** Saves a new version and makes it current. Returns its name. @throws GoodpartsError `store-write`; the store is then as before */
  async save(info: StoredInfo, arrays: Arrays, files: Files = {}): Promise<string> {
    let written = this.place(info.name, `.writing-${crypto.randomUUID()}`);
    let version: string;
    try {
      await fs.mkdir(written, { recursive: true });
      await writeVersion(written, info, arrays, files);
      version = await this.moveIn(info.name, written);
      written = this.place(info.name, version);
      await this.activate(info.name, version);
    } catch (error) {
      await fs.rm(written, { recursive: true, force: true }).catch(() => undefined);
      throw error instanceof GoodpartsError ? error : await this.unwritable(info.name, error as Error);
    }
    // the new version is in use already: one that cannot be removed yet (Windows, NFS) goes with the next save
    await this.prune(info.name, version).catch(() => undefined);
    return version;
  }

  async activate(name: string, version: string): Promise<void> {
    await this.readFile(name, checkVersion(version), INFO);
    const beside = this.place(name, `.current-${crypto.randomUUID()}`);
    try {
      await writeDurably(beside, Buffer.from(version + '\n'));
      await fs.rename(beside, this.place(name, CURRENT));
    } catch (error) {
      await fs.rm(beside, { force: true }).catch(() => undefined);
      throw error;
    }
  }

  async delete(name: string, version?: string): Promise<void> {
    const inUse = await this.current(name).catch((error: GoodpartsError) => {
      if (error.code !== 'detector-damaged') throw error;
      return ''; // a damaged one can be removed, too
    });
    if (version === inUse)
      throw new GoodpartsError(
        'store-write',
        `${name} ${version} is in use; make another version current first, or delete the whole detector.`
      );
    if (version) await this.readFile(name, checkVersion(version), INFO);
    await fs.rm(version ? this.place(name, version) : this.place(name), { recursive: true, force: true });
  }

  /** The folder of a detector; it need not be there. */
  home(name: string): string {
    return this.place(name);
  }

  private place(name: string, ...rest: string[]): string {
    return path.join(this.folder, checkName(name), ...rest);
  }

  /** What the file `current` says; empty where it is missing. */
  private async pointer(name: string): Promise<string> {
    return (await fs.readFile(this.place(name, CURRENT), 'utf8').catch(() => '')).trim();
  }

  private async decode(name: string, version: string, file: string, bytes: Buffer): Promise<Npy> {
    try {
      return decodeNpy(bytes);
    } catch {
      throw await this.damaged(name, version, file);
    }
  }

  private async readFile(name: string, version: string, file: string): Promise<Buffer> {
    try {
      return await readWhole(this.place(name, version, file));
    } catch (error) {
      if (error instanceof GoodpartsError) throw error;
      const exists = (await this.versions(name)).includes(version);
      if (exists) throw await this.damaged(name, version, file);
      throw new GoodpartsError('detector-unknown', `There is no version ${version} of detector "${name}".`, {
        name,
        version
      });
    }
  }

  private async unwritable(name: string, error: NodeJS.ErrnoException): Promise<GoodpartsError> {
    const stays = await this.current(name).then(
      version => ` The previous version, ${version}, stays in use.`,
      () => ''
    );
    const message = `The detector cannot be saved in ${this.place(name)}: ${error.message}.${stays}`;
    return new GoodpartsError('store-write', message, { cause: error.code ?? '' });
  }

  private async damaged(name: string, version: string, file: string): Promise<GoodpartsError> {
    const older = (await this.versions(name)).filter(v => number(v) < number(version)).at(-1) ?? null;
    return new GoodpartsError(
      'detector-damaged',
      `Detector "${name}" ${version} is damaged: ${file} is missing or was changed. ${advice(older)}`,
      {
        name,
        version,
        file,
        previous: older
      }
    );
  }

  /** Renames the folder to the next free version; another process may take that number first. */
  private async moveIn(name: string, beside: string): Promise<string> {
    for (;;) {
      const last = (await this.versions(name)).at(-1);
      const version = `v${last ? number(last) + 1 : 1}`;
      try {
        await fs.rename(beside, this.place(name, version));
        return version;
      } catch (error) {
        if (!['ENOTEMPTY', 'EEXIST', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
        if (!(await this.versions(name)).includes(version)) throw error;
      }
    }
  }

  /** Removes the oldest versions beyond `keepVersions`, and what a kill left half written an hour ago or more. */
  private async prune(name: string, keep: string): Promise<void> {
    const versions = await this.versions(name);
    const old = this.keepVersions > 0 ? versions.slice(0, -this.keepVersions).filter(v => v !== keep) : [];
    for (const version of old) await fs.rm(this.place(name, version), { recursive: true, force: true });
    for (const entry of await fs.readdir(this.place(name))) {
      if (!entry.startsWith('.writing-') && !entry.startsWith('.current-')) continue;
      const { mtimeMs } = await fs.stat(this.place(name, entry)).catch(() => ({ mtimeMs: Infinity }));
      if (Date.now() - mtimeMs > 3600e3) await fs.rm(this.place(name, entry), { recursive: true, force: true });
    }
  }
}

/** In one piece: `fs.readFile` takes half a megabyte a turn of the event loop, which ONNX Runtime holds up meanwhile. */
async function readWhole(file: string): Promise<Buffer> {
  const handle = await fs.open(file);
  try {
    const { size } = await handle.stat();
    const bytes = Buffer.allocUnsafeSlow(size);
    for (let at = 0; at < size;) {
      const { bytesRead } = await handle.read(bytes, at, size - at, at);
      if (!bytesRead) return bytes.subarray(0, at);
      at += bytesRead;
    }
    return bytes;
  } finally {
    await handle.close();
  }
}

function advice(version: string | null): string {
  if (version === null) return 'There is no older version: fit again.';
  return `Version ${version} is still there: make it current, or fit again.`;
}

const number = (version: string): number => Number(version.slice(1));

function checkVersion(version: string): string {
  if (!VERSION.test(version))
    throw new GoodpartsError('detector-unknown', `"${version.slice(0, 40)}" is no version; versions are v1, v2, ...`);
  return version;
}

/** A handler of rejections: what is not there is `value`, anything else stays an error. */
function unlessMissing<T>(value: T): (error: NodeJS.ErrnoException) => T {
  return error => {
    if (error.code === 'ENOENT') return value;
    throw error;
  };
}
