import sharp from 'sharp';
import { openImage, unreadable } from '../../engine/decode';
import type { AnomalyMap, ImageInput, ImageLimits, Region } from '../../engine';
import { colormap, type ColormapName, type Rgb } from './colormaps';
import { boxesSvg, contourSvg, notInspectedSvg } from './drawing';
import { shrink, type Grid } from './grid';
import { colourScale, opacityAt, type ColourScale, type ScaleOptions } from './scale';
import { scaleBarSvg } from './scale-bar';
import { fitInto, scaleBox, type Size } from './size';

/** Longest side of what JavaScript touches pixel by pixel (a few ms); libvips does the rest on its own threads. */
const OVERLAY_SIDE = 512;
/** Finer contours cost more time than they show. */
const CONTOUR_SIDE = 256;

export interface OverlayOptions extends ScaleOptions {
  colormap: ColormapName;
  /** opacity of the colours, 0..1 */
  alpha: number;
  /** draw the line along which the map passes the pixel threshold */
  contour: boolean;
  boxes: boolean;
  scaleBar: boolean;
  format: 'png' | 'jpeg' | 'webp';
  /** 1..100, for jpeg and webp */
  quality: number;
  /** longest side of the result, pixels; 0: the picture's own size */
  maxSide: number;
}

/** What an anomaly map is drawn with: regions are in pixels of a picture of the size `original`. */
export interface OverlayInput {
  image: ImageInput;
  map: AnomalyMap;
  regions: readonly Region[];
  /** default: the picture's own size */
  original?: Size;
  limits?: Partial<ImageLimits>;
}

/** RGBA of each map value. */
function paint({ values }: Grid, { min, max }: ColourScale, colours: readonly Rgb[], alpha: number): Uint8Array {
  const opacity = (i: number) => Math.round(255 * alpha * opacityAt(i / 255));
  // one 32-bit write a pixel: both views share the machine's byte order
  const table = new Uint32Array(Uint8Array.from(colours.flatMap((rgb, i) => [...rgb, opacity(i)])).buffer);
  const pixels = new Uint32Array(values.length);
  const factor = 255 / (max - min);
  for (let i = 0; i < pixels.length; i++) {
    const at = Math.round((values[i] - min) * factor);
    // NaN, what was not inspected, stays 0: it is hatched, see notInspectedSvg
    if (at > 0) pixels[i] = table[Math.min(255, at)];
  }
  return new Uint8Array(pixels.buffer);
}

/** The colours at the picture's size. */
async function tint(input: OverlayInput, scale: ColourScale, colours: readonly Rgb[], alpha: number, size: Size) {
  const grid = shrink(input.map, OVERLAY_SIDE);
  const raw = { width: grid.width, height: grid.height, channels: 4 as const };
  const data = await sharp(paint(grid, scale, colours, alpha), { raw })
    .resize(size.width, size.height, { fit: 'fill', kernel: 'linear' })
    .raw()
    .toBuffer();
  return { input: data, raw: { ...size, channels: 4 as const }, left: 0, top: 0 };
}

/** What is drawn above the colours, as SVG; [] for nothing. */
async function lines(
  { map, regions, original }: OverlayInput,
  options: OverlayOptions,
  scale: ColourScale,
  colours: readonly Rgb[],
  [own, size]: [Size, Size]
): Promise<sharp.OverlayOptions[]> {
  const { threshold } = scale;
  const boxes = regions.map(region => scaleBox(region, original ?? own, size));
  const outlined = shrink(map, CONTOUR_SIDE);
  const shapes = [
    await notInspectedSvg(outlined, size),
    options.contour && threshold !== undefined ? await contourSvg(outlined, threshold, size) : '',
    options.boxes ? boxesSvg(boxes, size) : '',
    options.scaleBar ? scaleBarSvg(scale, colours, size, boxes) : ''
  ].join('');
  if (!shapes) return [];
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${size.width}" height="${size.height}">${shapes}</svg>`;
  return [{ input: Buffer.from(svg), left: 0, top: 0, limitInputPixels: false }];
}

/**
 * Draws an anomaly map onto its picture. JavaScript works on a small copy of the map only; everything at the picture's
 * size is done by libvips on its own threads.
 * @returns the encoded picture, at the picture's upright size (EXIF) or fitted into `maxSide`
 * @throws GoodpartsError `image-...` for a picture that cannot be read, `calibration-missing` for a scale without ends
 */
export async function renderOverlay(input: OverlayInput, options: OverlayOptions): Promise<Buffer> {
  const scale = colourScale(input.map, options);
  const colours = colormap(options.colormap);
  const picture = await openImage(input.image, input.limits);
  const { autoOrient: own } = await picture.metadata();
  const size = fitInto(own, options.maxSide);
  const layers = [
    await tint(input, scale, colours, options.alpha, size),
    ...(await lines(input, options, scale, colours, [own, size]))
  ];
  const { format, quality } = options;
  try {
    return await picture
      .resize(size.width, size.height, { fit: 'fill' })
      .composite(layers)
      .removeAlpha()
      .toFormat(format, format === 'png' ? { compressionLevel: 6 } : { quality })
      .toBuffer();
  } catch (error) {
    throw unreadable(error);
  }
}
