import path from 'node:path';
import { decode } from './engine/decode';
import { GoodpartsError } from './engine/errors';
import { about, entries, picturesIn, readPicture } from './pictures';

/** One picture of a class in MVTec AD's layout. */
export interface MvtecImage {
  path: string;
  /** 1: defective */
  label: 0 | 1;
  /** the folder's name under `test`; `good` for good parts */
  defect: string;
  /** ground truth; null for good parts, and where the class has none for this picture */
  maskPath: string | null;
}

export interface MvtecClass {
  name: string;
  train: MvtecImage[];
  test: MvtecImage[];
}

export interface Mask {
  /** 255 defective, 0 normal; row-major */
  data: Uint8Array;
  width: number;
  height: number;
}

// `ok` is BTAD's word
const GOOD = new Set(['good', 'ok']);
// MVTec AD; VisA, BTAD and MVTec 3D; others that follow the layout
const MASK_ENDINGS = ['_mask', '', '_gt'];
// a JPEG has no clean edges: what is left of black and white is told apart in the middle
const LOSSY = new Set(['.jpg', '.jpeg']);

async function subfolder(folder: string, matches: (name: string) => boolean): Promise<string | null> {
  const found = (await entries(folder)).find(e => e.kind === 'folder' && matches(e.name.toLowerCase()));
  return found?.path ?? null;
}

async function goodFolder(folder: string): Promise<string | null> {
  const train = await subfolder(folder, name => name === 'train');
  return train && (await subfolder(train, name => GOOD.has(name)));
}

/**
 * The good pictures to learn from, where a folder is a class in MVTec's layout; null where it has no `train/good`.
 * @throws GoodpartsError `path-missing` when there is no such folder
 */
export async function trainingPictures(folder: string): Promise<string[] | null> {
  const good = await goodFolder(folder);
  return good === null ? null : picturesIn(good);
}

/** Pictures without their suffix, lower case. */
const stemOf = (file: string) => path.parse(file).name.toLowerCase();

async function masksOf(groundTruth: string | null, defect: string): Promise<Map<string, string>> {
  const folder = groundTruth && (await subfolder(groundTruth, name => name === defect.toLowerCase()));
  return new Map(folder ? (await picturesIn(folder)).map(file => [stemOf(file), file]) : []);
}

async function defectImages(folder: string, defect: string, groundTruth: string | null): Promise<MvtecImage[]> {
  const masks = await masksOf(groundTruth, defect);
  return (await picturesIn(folder)).map(file => {
    const ending = MASK_ENDINGS.find(end => masks.has(stemOf(file) + end));
    const maskPath = ending === undefined ? null : masks.get(stemOf(file) + ending)!;
    return { path: file, label: 1, defect, maskPath };
  });
}

const goodImages = (files: string[]): MvtecImage[] =>
  files.map(file => ({ path: file, label: 0, defect: 'good', maskPath: null }));

/** What to say about a folder that is no class: the one above it is a common slip. */
async function notAClass(folder: string): Promise<GoodpartsError> {
  const classes = [];
  for (const entry of await entries(folder))
    if (entry.kind === 'folder' && (await goodFolder(entry.path))) classes.push(entry.name);
  const hint = classes.length
    ? `It holds such folders: give one of ${classes.slice(0, 20).join(', ')}.`
    : 'Expected train/good, test/<defect> and, for pixel metrics, ground_truth/<defect>.';
  return new GoodpartsError('path-missing', `${folder} is not a class folder in MVTec's layout. ${hint}`);
}

/**
 * Reads a class folder in MVTec AD's layout: `train/good`, `test/good`, `test/<defect>` and `ground_truth/<defect>/<stem>_mask.png`
 * (or `<stem>.png`, `<stem>_gt.png`), names in any case, pictures and masks of any format the engine reads.
 * @throws GoodpartsError `path-missing` when it is not one, or holds no good picture to learn from or nothing to test
 */
export async function readMvtec(folder: string): Promise<MvtecClass> {
  const train = await trainingPictures(folder);
  if (!train) throw await notAClass(folder);
  if (train.length === 0) throw new GoodpartsError('path-missing', `${folder}: train/good holds no picture.`);
  const groundTruth = await subfolder(folder, name => name === 'ground_truth');
  const testFolder = await subfolder(folder, name => name === 'test');
  const test: MvtecImage[] = [];
  for (const entry of testFolder ? await entries(testFolder) : []) {
    if (entry.kind !== 'folder') continue;
    if (GOOD.has(entry.name.toLowerCase())) test.push(...goodImages(await picturesIn(entry.path)));
    else test.push(...(await defectImages(entry.path, entry.name, groundTruth)));
  }
  if (test.length === 0) throw new GoodpartsError('path-missing', `${folder}: test/ holds no picture.`);
  return { name: path.basename(path.resolve(folder)), train: goodImages(train), test };
}

/**
 * Reads a ground-truth mask: any colour but black is defective.
 * @throws GoodpartsError as for pictures, naming the file
 */
export async function readMask(file: string): Promise<Mask> {
  const bytes = await readPicture(file);
  try {
    const { data: rgb, width, height } = await decode(bytes);
    const least = LOSSY.has(path.extname(file).toLowerCase()) ? 128 : 1;
    const data = new Uint8Array(width * height);
    for (let i = 0, j = 0; i < data.length; i++, j += 3)
      if (rgb[j] >= least || rgb[j + 1] >= least || rgb[j + 2] >= least) data[i] = 255;
    return { data, width, height };
  } catch (error) {
    throw about(file, error);
  }
}

/** A mask at another size, each pixel the nearest one (by its centre) of the original. */
export function scaleMask(mask: Mask, width: number, height: number): Mask {
  if (mask.width === width && mask.height === height) return mask;
  const data = new Uint8Array(width * height);
  for (let y = 0, i = 0; y < height; y++) {
    const line = Math.floor(((y + 0.5) * mask.height) / height) * mask.width;
    for (let x = 0; x < width; x++, i++) data[i] = mask.data[line + Math.floor(((x + 0.5) * mask.width) / width)];
  }
  return { data, width, height };
}
