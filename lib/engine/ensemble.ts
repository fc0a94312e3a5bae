// Two backbones that look at the same pictures: how their scores and maps become one.
import type { Seen } from './calibrate';
import { percentile } from './threshold';
import type { Calibration, FitSettings, Scale } from './types';

type Settings = Required<FitSettings>;

/** The settings of each member of a detector, which is one member unless there is a second backbone. The fit's memory is shared. */
export function memberSettings(settings: Settings): Settings[] {
  const { secondBackbone, memoryLimit } = settings;
  // versions of before there were ensembles have no such setting
  if (!secondBackbone) return [settings];
  const first = { ...settings, memoryLimit: Math.ceil(memoryLimit / 2) };
  return [first, { ...first, backbone: secondBackbone, layers: [], layerWeights: [] }];
}

/** Backbones measure in units of their own: what is usual for good parts becomes 1. */
export function scaleOf({ scores, mapMaxima }: Pick<Calibration, 'scores' | 'mapMaxima'>): Scale {
  const usual = (values: number[]): number => 1 / (percentile(values, 50) || 1);
  return { score: usual(scores), map: usual(mapMaxima) };
}

/** The mean of what the members see of a picture, each at its scale. Source: ensembles of PatchCore, Roth et al. (2022), sec. 4. */
export function combined(members: Seen[], scales: Scale[]): Seen {
  const share = 1 / members.length;
  const score = members.reduce((sum, member, i) => sum + share * scales[i].score * member.score, 0);
  const maps = members[0].maps.map((map, tile) => {
    const mean = new Float32Array(map.length);
    members.forEach((member, i) => {
      const factor = share * scales[i].map;
      member.maps[tile].forEach((value, pixel) => (mean[pixel] += factor * value));
    });
    return mean;
  });
  return { score, maps };
}
