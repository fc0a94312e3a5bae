/** Palettes of other authors, installed from npm as Node-RED's palette manager does; kept between test runs in test/.cache. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../support';

/** package name -> version range, as the `modules` of a flow's global-config node */
export type Modules = Record<string, string>;

interface FlowPart {
  type: string;
  modules?: Modules;
  /** what a function node loads */
  libs?: { module: string }[];
}

/** Milliseconds that a first install may take; later ones find it in test/.cache. */
export const INSTALLING = 600_000;

const OURS = '@goodparts/node-red-anomaly';

/** What a flow says that it needs beside Node-RED and this package: palettes, and libraries of its function nodes. */
export function modulesOf(nodes: FlowPart[]): Modules {
  const all = nodes.filter(node => node.type === 'global-config').map(node => node.modules ?? {});
  const libraries = nodes.flatMap(({ libs = [] }) => libs.map(({ module }) => module)).filter(name => !isBuiltin(name));
  const wanted = Object.entries(
    Object.assign(Object.fromEntries(libraries.map(name => [name, '*'])), ...all) as Modules
  );
  return Object.fromEntries(wanted.filter(([name]) => name !== OURS));
}

/**
 * Installs the modules, once for each set of them.
 * @returns the node_modules folder
 * @throws Error with npm's words where they cannot be installed
 */
export async function palette(modules: Modules): Promise<string> {
  const wanted = Object.entries(modules).sort(([a], [b]) => a.localeCompare(b));
  const key = createHash('sha256').update(JSON.stringify(wanted)).digest('hex').slice(0, 16);
  const folder = path.join(ROOT, 'test/.cache/palettes', key);
  const installed = path.join(folder, 'node_modules');
  if (await fs.stat(installed).catch(() => undefined)) return installed;
  await fs.mkdir(path.dirname(folder), { recursive: true });
  // installed beside and renamed, so that a broken install is never taken for a whole one
  const draft = await fs.mkdtemp(folder);
  await fs.writeFile(path.join(draft, 'package.json'), JSON.stringify({ private: true, dependencies: modules }));
  await promisify(execFile)('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: draft
  });
  await fs.rename(draft, folder).catch(() => fs.rm(draft, { recursive: true, force: true }));
  return installed;
}

/** Links the modules into a user directory, beside this package. */
export async function addPalette(userDir: string, modules: Modules): Promise<void> {
  if (Object.keys(modules).length === 0) return;
  const installed = await palette(modules);
  for (const name of Object.keys(modules)) {
    const link = path.join(userDir, 'node_modules', name);
    await fs.mkdir(path.dirname(link), { recursive: true });
    await fs.symlink(path.join(installed, name), link, 'junction');
  }
  // Node-RED looks for palettes in what the user directory's package.json names
  await fs.writeFile(path.join(userDir, 'package.json'), JSON.stringify({ private: true, dependencies: modules }));
}
