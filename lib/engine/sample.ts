import type { RowFile } from './workfile';

/** Images on which a detector is calibrated, at the most: percentiles of their scores are what is wanted. */
const MOST_IMAGES = 256;
/** Large ones, of many tiles, are fewer: no more than so many patches, as long as there are so many images. */
const PATCHES = 2 ** 22;
const LEAST_IMAGES = 8;

/** Images on which a detector is calibrated, at the most. */
export const calibrationImages = (patchesPerImage: number): number =>
  Math.min(MOST_IMAGES, Math.max(LEAST_IMAGES, Math.floor(PATCHES / patchesPerImage)));

/** Where the tiles of an image are in the file: its first row. */
interface Place {
  first: number;
  /** that it has, and of which are written */
  tiles: number;
  written: number;
}

/**
 * A random sample of the images of a fit, each as likely as any other however many come (Vitter 1985, algorithm R), with their patch
 * embeddings: in the fit's file while that holds all images, later in a file of its own.
 */
export class Sample {
  /** index of the image in each place */
  readonly images: number[] = [];
  private readonly places: Place[] = [];
  /** the place of the image that is being offered, if it has one */
  private open: Place | undefined;
  private most = 0;
  private seen = 0;
  private own: RowFile | undefined;
  private listed: { place: number; row: number }[] | undefined;

  /**
   * @param perTile patches that a tile of an image has, with its copies
   * @param size those by which it is decided how many images are sampled
   */
  constructor(
    private readonly all: RowFile,
    readonly perTile: number,
    private readonly random: () => number,
    private readonly size = perTile
  ) {}

  /** Offers a tile of an image, the first of which is that of the next one. @param row of the fit's file where it is, if it is there */
  async offer(patches: Float32Array, row: number, tile: number, tiles: number): Promise<void> {
    if (tile === 0) this.open = this.choose(row, tiles);
    this.listed = undefined;
    if (!this.open) return;
    await this.own?.write(this.open.first + tile * this.perTile, patches);
    this.open.written = tile + 1;
  }

  private choose(row: number, tiles: number): Place | undefined {
    this.most ||= calibrationImages(tiles * this.size);
    const image = this.seen++;
    const n = image < this.most ? image : Math.floor(this.random() * this.seen);
    if (n >= this.most) return undefined;
    this.images[n] = image;
    const old = this.own && this.places[n];
    const first = old && old.tiles >= tiles ? old.first : (this.own?.count ?? row);
    return (this.places[n] = { first, tiles, written: 0 });
  }

  /** Takes the sample's embeddings out of the fit's file, before that one is reduced. */
  async moveTo(file: RowFile): Promise<void> {
    // more tiles of the image that is being offered come: it is the last in the file
    this.listed = undefined;
    const places = this.places.filter(place => place !== this.open);
    if (this.open) places.push(this.open);
    try {
      for (const place of places) {
        const from = place.first;
        place.first = file.count;
        for (let i = 0; i < place.written; i++)
          await file.append(await this.all.read(from + i * this.perTile, this.perTile));
      }
    } catch (error) {
      await file.close();
      throw error;
    }
    this.own = file;
  }

  /** Removes its own file. */
  async close(): Promise<void> {
    await this.own?.close();
  }

  get moved(): boolean {
    return this.own !== undefined;
  }

  /** The tiles of all images, in the order of their places. */
  tiles(): { place: number; row: number }[] {
    return (this.listed ??= this.places.flatMap(({ first, tiles }, place) =>
      Array.from({ length: tiles }, (_, i) => ({ place, row: first + i * this.perTile }))
    ));
  }

  /** Patch embeddings of one of the tiles, [P, D]. */
  patches(tile: number): Promise<Float32Array> {
    return (this.own ?? this.all).read(this.tiles()[tile].row, this.perTile);
  }

  /** Patch embeddings by their index over the tiles, [n, D]. */
  gather(indices: ArrayLike<number>): Promise<Float32Array> {
    const tiles = this.tiles();
    const positions = Int32Array.from(indices, i => tiles[Math.floor(i / this.perTile)].row + (i % this.perTile));
    return (this.own ?? this.all).gather(positions);
  }
}
