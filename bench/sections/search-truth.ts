/** Neighbours of the image score's re-weighting, the preset's. */
const NEIGHBOURS = 9;

export interface Truth {
  /** image score in double precision */
  score: number;
  /** share of the patches whose `nearest` bank patch is the nearest one, or another as near */
  share(nearest: Float32Array): number;
}

/**
 * The exact search of one picture in double precision, among candidates that float32 found.
 * @param candidates `k` rows of the bank for each patch, as floats
 */
export function truth(
  patches: Float32Array,
  bank: Float32Array,
  dimensions: number,
  candidates: Float32Array,
  k: number
): Truth {
  const distance = (a: Float32Array, i: number, b: Float32Array, j: number): number => {
    let sum = 0;
    for (let d = 0; d < dimensions; d++) sum += (a[i * dimensions + d] - b[j * dimensions + d]) ** 2;
    return Math.sqrt(sum);
  };
  const best = Array.from({ length: patches.length / dimensions }, (_, patch) => {
    const rows = Array.from(candidates.subarray(patch * k, (patch + 1) * k));
    return rows
      .map(row => ({ row, distance: distance(patches, patch, bank, row) }))
      .reduce((a, b) => (b.distance < a.distance ? b : a));
  });
  const top = best.reduce((most, b, i) => (b.distance > best[most].distance ? i : most), 0);
  const around = Array.from({ length: bank.length / dimensions }, (_, row) => ({
    row,
    gap: distance(bank, best[top].row, bank, row)
  }));
  const neighbours = around.sort((a, b) => a.gap - b.gap).slice(0, NEIGHBOURS);
  const far = neighbours.map(({ row }) => distance(patches, top, bank, row));
  const most = Math.max(...far);
  const powers = far.map(d => Math.exp(d - most));
  const weight = 1 - powers[0] / powers.reduce((a, b) => a + b, 0);
  return {
    score: weight * best[top].distance,
    share(nearest) {
      const same = best.filter((b, i) => distance(patches, i, bank, nearest[i]) <= b.distance * (1 + 1e-9));
      return same.length / best.length;
    }
  };
}
