/** Weights of red, green and blue in grey: ITU-R BT.601, as torchvision's. */
const GREY = [0.299, 0.587, 0.114];
/** How far from 1 a factor may be. Source: EfficientAD's light changes, 0.8 to 1.2. */
const RANGE = 0.2;

/**
 * The same part in another light: brightness, contrast or saturation changed by up to a fifth.
 * @param picture RGB in 0..1, [3, H, W]
 * Source: Batzner et al., EfficientAD (2024), appendix: what the autoencoder is shown.
 */
export function relit(picture: Float32Array, random: () => number): Float32Array {
  const factor = 1 + RANGE * (2 * random() - 1);
  const change = Math.floor(3 * random());
  const size = picture.length / 3;
  const grey = (i: number): number =>
    GREY[0] * picture[i] + GREY[1] * picture[size + i] + GREY[2] * picture[2 * size + i];
  let mean = 0;
  if (change === 1) for (let i = 0; i < size; i++) mean += grey(i) / size;
  // what a picture without brightness, contrast or saturation would be
  const from = (i: number): number => (change === 0 ? 0 : change === 1 ? mean : grey(i));
  const changed = new Float32Array(picture.length);
  for (let i = 0; i < size; i++) {
    const base = from(i);
    for (let c = 0; c < 3; c++) {
      const value = base + factor * (picture[c * size + i] - base);
      changed[c * size + i] = Math.min(1, Math.max(0, value));
    }
  }
  return changed;
}
