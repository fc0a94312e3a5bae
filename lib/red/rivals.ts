import type { FitSettings } from '../engine';
import { completeSettings } from '../engine/presets';

/** What tells two models apart that may fit the same detector. */
export interface Claim {
  /** how a person finds the model in the editor */
  title: string;
  store: string;
  detector: string;
  settings: FitSettings;
  maskFile?: string;
}

const running = new Set<Claim>();

/**
 * Notes that a model runs.
 * @param warn gets one text for each running model that would fit the same detector in another way: their fits replace each
 * other's versions, and nothing else would tell
 * @returns ends the claim
 */
export function claim(mine: Claim, warn: (text: string) => void): () => void {
  for (const other of running) {
    if (other.store !== mine.store || other.detector !== mine.detector) continue;
    const differs = differences(other, mine);
    if (differs.length === 0) continue;
    warn(
      `'${other.title}' and '${mine.title}' both fit the detector '${mine.detector}' in ${mine.store}, but differ in ` +
        `${differs.join(', ')}: a fit of one takes the place of the other's. Give each a detector name of its own, or both ` +
        'the same settings.'
    );
  }
  running.add(mine);
  return () => void running.delete(mine);
}

/** The settings that differ once the preset's values are filled in, each with both values; polygons would say nothing here. */
function differences(a: Claim, b: Claim): string[] {
  const [one, two] = [a, b].map(({ settings, maskFile }) => ({ ...filled(settings), maskFile: maskFile || undefined }));
  const keys = Object.keys({ ...one, ...two }) as (keyof typeof one)[];
  return keys.flatMap(key => {
    const values = [one[key], two[key]].map(value => JSON.stringify(value));
    if (values[0] === values[1]) return [];
    return key === 'region' ? [key] : [`${key} (${values.join(' and ')})`];
  });
}

/** Settings that are wrong stay as they are: the fit that they are for says so. */
function filled(settings: FitSettings): FitSettings {
  try {
    return completeSettings(settings);
  } catch {
    return settings;
  }
}
