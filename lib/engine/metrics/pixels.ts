import { labelComponents } from '../components';
import { auroc, averagePrecision, f1Max, rank, type F1Max, type Ranking } from './ranking';

export interface PixelResult {
  auroc: number | null;
  ap: number | null;
  f1Max: F1Max | null;
  /** area under the per-region overlap curve up to the false-positive limit, divided by the limit */
  aupro: number | null;
}

/**
 * Collects anomaly maps and their ground truth, one picture at a time, and measures how well the maps find the defects.
 * Keeps 4 bytes a pixel (good pictures' maps are kept as they come, so leave them unchanged).
 */
export class PixelMetrics {
  private readonly normal: Float32Array[] = [];
  /** scores of defective pixels, and beside each the number of its region, counted over all pictures */
  private readonly defective: Float32Array[] = [];
  private readonly region: Int32Array[] = [];
  private regions = 0;

  /** @param fprLimit AU-PRO's share (0..1] of normal pixels that may be marked; 0.3 in the literature */
  constructor(readonly fprLimit = 0.3) {
    if (!(fprLimit > 0 && fprLimit <= 1)) throw new RangeError(`${fprLimit} is not a false-positive limit`);
  }

  /**
   * @param map row-major, `width * height`; NaN is a pixel that was not inspected and does not count
   * @param mask anything but 0 is defective; null: the picture is good
   * @throws RangeError when the sizes do not fit each other
   */
  add(map: Float32Array, mask: Uint8Array | null, width: number, height: number): void {
    if (map.length !== width * height)
      throw new RangeError(`a map of ${map.length} values is not ${width} x ${height} pixels`);
    const { labels, count } = mask ? labelComponents(mask, width, height) : { labels: null, count: 0 };
    let normal = 0;
    let defective = 0;
    for (let i = 0; i < map.length; i++) {
      if (Number.isNaN(map[i])) continue;
      if (labels !== null && labels[i] !== 0) defective++;
      else normal++;
    }
    if (normal === map.length) {
      this.normal.push(map);
      return;
    }
    const normalScores = new Float32Array(normal);
    const defectiveScores = new Float32Array(defective);
    const regions = new Int32Array(defective);
    for (let i = 0; i < map.length; i++) {
      if (Number.isNaN(map[i])) continue;
      if (labels !== null && labels[i] !== 0) {
        defectiveScores[--defective] = map[i];
        regions[defective] = this.regions + labels[i] - 1;
      } else normalScores[--normal] = map[i];
    }
    this.normal.push(normalScores);
    this.defective.push(defectiveScores);
    this.region.push(regions);
    this.regions += count;
  }

  /** All null without a defective or without a normal pixel. */
  result(): PixelResult {
    const ranking = rank(this.defective, this.normal);
    if (ranking === null) return { auroc: null, ap: null, f1Max: null, aupro: null };
    return {
      auroc: auroc(ranking),
      ap: averagePrecision(ranking),
      f1Max: f1Max(ranking),
      aupro: this.aupro(ranking)
    };
  }

  /**
   * AU-PRO (Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, section 6.2): the curve of mean region overlap against the
   * false-positive rate is the mean of one step curve a defective pixel, so its area is a sum over pixels and no curve is built.
   * A pixel is found once the threshold passes its score; with f of the normal pixels above and e more at that very score,
   * its curve climbs in a straight line from 0 at f to 1 at f + e (the trapezoid rule over ties).
   */
  private aupro({ scores, above, equal, totalNegatives, indexOf }: Ranking): number {
    const limit = this.fprLimit;
    const areas = new Float64Array(scores.length);
    for (let i = 0; i < areas.length; i++) {
      const from = above[i] / totalNegatives;
      const to = (above[i] + equal[i]) / totalNegatives;
      if (to <= limit) areas[i] = limit - (from + to) / 2;
      else if (from < limit) areas[i] = (limit - from) ** 2 / (2 * (to - from));
    }
    const sums = new Float64Array(this.regions);
    const pixels = new Float64Array(this.regions);
    this.defective.forEach((piece, p) => {
      const region = this.region[p];
      for (let i = 0; i < piece.length; i++) {
        sums[region[i]] += areas[indexOf(piece[i])];
        pixels[region[i]]++;
      }
    });
    let total = 0;
    let inspected = 0;
    for (let r = 0; r < this.regions; r++) {
      if (pixels[r] === 0) continue; // wholly outside the inspected area
      total += sums[r] / pixels[r];
      inspected++;
    }
    return total / (inspected * limit);
  }
}
