import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { randomStream } from '../lib/engine/random';
import { Random } from '../lib/sample/random';

/** Root of the repository, seen from dist/test. */
export const ROOT = path.resolve(__dirname, '../..');
const SHARED = path.resolve(ROOT, '../shared');

/** A file or folder of the data that lies beside the repository; skips the test with a clear line where it is missing. */
export function shared(context: Mocha.Context, ...parts: string[]): string {
  const place = path.join(SHARED, ...parts);
  if (fs.existsSync(place)) return place;
  console.log(`      skipped: ../shared/${parts.join('/')} is not here`);
  context.skip();
}

/** Debian's Chromium brings a graphics card in software, which computes WebGPU as a real one does, only slowly. */
const CHROMIUM = '/usr/lib/chromium';

/** The environment in which WebGPU finds that card; skips the test with a clear line where it is missing. */
export function softwareGpu(context: Mocha.Context): NodeJS.ProcessEnv {
  const driver = path.join(CHROMIUM, 'vk_swiftshader_icd.json');
  if (fs.existsSync(driver)) return { VK_ICD_FILENAMES: driver, LD_LIBRARY_PATH: CHROMIUM };
  console.log(`      skipped: no Chromium of Debian, whose software renderer WebGPU would run on`);
  context.skip();
}

const folders: string[] = [];
process.once('exit', () => folders.forEach(folder => fs.rmSync(folder, { recursive: true, force: true })));

/** A new empty folder, removed when the test process ends. */
export function scratch(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'goodparts-test-'));
  folders.push(folder);
  return folder;
}

/** Writes a file, and the folders above it where they are missing. */
export function put(file: string, content: string | Uint8Array = ''): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, content);
}

export interface PartOptions {
  seed?: number;
  size?: number;
  /** a dark square where none belongs */
  defect?: boolean;
  format?: 'png' | 'jpeg';
}

/** A small picture of a part: a bright disc on a grey, slightly noisy ground; encoded. */
export function part({ seed = 1, size = 96, defect = false, format = 'png' }: PartOptions = {}): Promise<Buffer> {
  const random = randomStream(seed);
  const data = new Uint8Array(size * size * 3);
  const [cx, cy] = [size * (0.49 + random() * 0.02), size * (0.49 + random() * 0.02)];
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const r = Math.hypot(x - cx, y - cy) / size;
      const damaged = defect && x > size * 0.4 && x < size * 0.62 && y > size * 0.2 && y < size * 0.42;
      const grey = (damaged ? 10 : r < 0.12 ? 90 : r < 0.35 ? 200 : 110) + random() * 10;
      data.fill(grey, (y * size + x) * 3, (y * size + x) * 3 + 3);
    }
  return sharp(data, { raw: { width: size, height: size, channels: 3 } })
    .toFormat(format)
    .toBuffer();
}

/** Noise in three colours as raw pixels, drawn from a seed: sharp's own differs in every run. */
export function noise({
  width,
  height,
  mean,
  sigma,
  seed
}: Record<'width' | 'height' | 'mean' | 'sigma' | 'seed', number>) {
  const random = new Random(seed, 'noise');
  const grain = () => mean + random.normal(sigma);
  return {
    input: Buffer.from(Uint8ClampedArray.from({ length: width * height * 3 }, grain)),
    raw: { width, height, channels: 3 as const }
  };
}

export function parts(count: number, options: PartOptions = {}): Promise<Buffer[]> {
  return Promise.all(Array.from({ length: count }, (_, i) => part({ ...options, seed: 100 + i })));
}

/** Small enough that a fit takes a second. */
export const SMALL = { inputWidth: 64, inputHeight: 64 };
