/** Size of a picture, pixels. */
export interface Size {
  width: number;
  height: number;
}

/** A rectangle on a picture, pixels. */
export interface Box extends Size {
  x: number;
  y: number;
}

/** A box of a picture of the size `from` on the same picture at the size `to`. */
export function scaleBox({ x, y, width, height }: Box, from: Size, to: Size): Box {
  const [across, down] = [to.width / from.width, to.height / from.height];
  return { x: x * across, y: y * down, width: width * across, height: height * down };
}

/** The size that fits into `maxSide` (0: no bound), aspect kept, never enlarged. */
export function fitInto({ width, height }: Size, maxSide: number): Size {
  const factor = maxSide > 0 ? Math.min(1, maxSide / Math.max(width, height)) : 1;
  return { width: Math.max(1, Math.round(width * factor)), height: Math.max(1, Math.round(height * factor)) };
}
