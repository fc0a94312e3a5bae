// Two backbones that look at the same pictures: how their scores and maps become one.
import type { Seen } from './calibrate';
import { percentile, spreadOf } from './threshold';
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

/** Smaller relative deviations than this are not believed: a few good parts may score alike by chance. */
const LEAST_DEVIATION = 0.05;

/**
 * Backbones measure in units of their own, and the good parts scatter more in some than in others. Of the scores that good parts get from
 * member i when it is calibrated, let m_i be the median, d_i the standard deviation over m_i, and w_i the weight (1 for the first). With
 * u_i = w_i / d_i, the detector's score is sum_i (u_i s_i / m_i) / sum_i u_i: a usual good part scores about 1, and a member whose good
 * parts scatter counts less. Maps likewise, pixel by pixel, by the good parts' highest map values.
 * Source: z-scores without their offset, in other units; Jain, Nandakumar and Ross, Score normalization in multimodal biometric systems
 * (2005). patchcore-inspection scales the members of an ensemble by the range of their scores over all test pictures, which a line that
 * inspects one part after the other does not know. docs/accuracy.md compares with u_i = w_i.
 */
export function scalesOf(members: Pick<Calibration, 'scores' | 'mapMaxima'>[], { secondWeight }: Settings): Scale[] {
  const weights = [1, secondWeight];
  const [score, map] = (['scores', 'mapMaxima'] as const).map(of => {
    // copies of a single picture may all score 0
    const medians = members.map(member => percentile(member[of], 50) || 1);
    const deviations = members.map((member, i) => spreadOf(member[of]).sigma / medians[i]);
    const counts = deviations.map((deviation, i) => weights[i] / Math.max(LEAST_DEVIATION, deviation));
    const sum = counts.reduce((a, b) => a + b);
    return medians.map((median, i) => counts[i] / sum / median);
  });
  return score.map((factor, i) => ({ score: factor, map: map[i] }));
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
