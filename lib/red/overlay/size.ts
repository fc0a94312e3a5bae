/** Size of a picture, pixels. */
export interface Size {
  width: number;
  height: number;
}

/** The size that fits into `maxSide` (0: no bound), aspect kept, never enlarged. */
export function fitInto({ width, height }: Size, maxSide: number): Size {
  const factor = maxSide > 0 ? Math.min(1, maxSide / Math.max(width, height)) : 1;
  return { width: Math.max(1, Math.round(width * factor)), height: Math.max(1, Math.round(height * factor)) };
}
