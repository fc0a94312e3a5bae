import type { RowFile } from './workfile';

/** Images on which a detector is calibrated, at the most: percentiles of their scores are what is wanted. */
export const CALIBRATION_IMAGES = 256;

/**
 * A random sample of the images of a fit, each as likely as any other however many come (Vitter 1985, algorithm R), with their patch
 * embeddings: in the fit's file while that holds all images, later in a file of its own.
 */
export class Sample {
  /** index of the image in each place */
  readonly images: number[] = [];
  private seen = 0;
  private own: RowFile | undefined;

  constructor(
    private readonly all: RowFile,
    readonly perImage: number,
    private readonly random: () => number
  ) {}

  /** Offers the next image. */
  async offer(patches: Float32Array): Promise<void> {
    const image = this.seen++;
    const place = image < CALIBRATION_IMAGES ? image : Math.floor(this.random() * this.seen);
    if (place >= CALIBRATION_IMAGES) return;
    this.images[place] = image;
    await this.own?.write(place * this.perImage, patches);
  }

  /** Takes the sample's embeddings out of the fit's file, before that one is reduced. */
  async moveTo(file: RowFile): Promise<void> {
    try {
      for (const [place, image] of this.images.entries())
        await file.write(place * this.perImage, await this.all.read(image * this.perImage, this.perImage));
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

  /** Patch embeddings of the image in a place, [P, D]. */
  patches(place: number): Promise<Float32Array> {
    return (this.own ?? this.all).read(this.first(place), this.perImage);
  }

  /** Patch embeddings by their index over the places, [n, D]. */
  gather(indices: ArrayLike<number>): Promise<Float32Array> {
    const positions = Int32Array.from(indices, i => this.first(Math.floor(i / this.perImage)) + (i % this.perImage));
    return (this.own ?? this.all).gather(positions);
  }

  /** Where the image in a place begins. */
  private first(place: number): number {
    return (this.own ? place : this.images[place]) * this.perImage;
  }
}
