// Two backbones that look at the same pictures: how their scores and maps become one.
import type { Seen } from './calibrate';
import { percentile } from './threshold';
import type { Calibration, FitSettings, Scale } from './types';

type Settings = Required<FitSettings>;

/** MB for what each of two members knows of the patches. */
export const halfOf = (memoryLimit: number): number => Math.ceil(memoryLimit / 2);

/** The settings of each member of a detector, which is one member unless there is a second backbone. The fit's memory is shared. */
export function memberSettings(settings: Settings): Settings[] {
  const { secondBackbone, memoryLimit } = settings;
  // versions of before there were ensembles have no such setting
  if (!secondBackbone) return [settings];
  const first = { ...settings, memoryLimit: halfOf(memoryLimit) };
  return [first, { ...first, backbone: secondBackbone, layers: [], layerWeights: [] }];
}

/**
 * Backbones measure in units of their own. With s_i the score of member i, m_i the median of the scores that good parts get from it when
 * they are calibrated, and w_i its weight (1 for the first), the detector's score is sum_i (w_i s_i / m_i) / sum_i w_i: a usual good part
 * scores about 1. Maps likewise, pixel by pixel, with the median of the good parts' highest map values.
 * Source: the mean of several PatchCores, Roth et al. (2022), sec. 4.2; there each is scaled by the range of its scores over the test
 * pictures, which a line that inspects one part after the other does not know.
 */
export function scalesOf(members: Pick<Calibration, 'scores' | 'mapMaxima'>[], { secondWeight }: Settings): Scale[] {
  const weights = [1, secondWeight];
  const sum = weights.reduce((a, b) => a + b);
  // copies of a single image may all score 0
  const usual = (values: number[]): number => percentile(values, 50) || 1;
  return members.map(({ scores, mapMaxima }, i) => ({
    score: weights[i] / sum / usual(scores),
    map: weights[i] / sum / usual(mapMaxima)
  }));
}

/** What the members see of a picture, each at its scale, added. What one of them did not inspect is NaN. */
export function combined(members: Seen[], scales: Scale[]): Seen {
  const score = members.reduce((sum, member, i) => sum + scales[i].score * member.score, 0);
  const maps = members[0].maps.map((map, tile) => {
    const sum = new Float32Array(map.length);
    members.forEach((member, i) => member.maps[tile].forEach((value, pixel) => (sum[pixel] += scales[i].map * value)));
    return sum;
  });
  return { score, maps };
}
