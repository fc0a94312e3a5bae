import type { Picture } from './decode';
import type { Detector, Inspect, Inspected, Inspector, LoadParts } from './detector';
import { combined, memberSettings } from './ensemble';
import type { Prepared } from './features';
import { loadedDetector, openBank, type OpenBank } from './patchcore';
import type { Shared } from './shared';
import type { Scale } from './types';
import { arraysOf, type Stored } from './version';

/** A picture as each member is given it. */
interface PreparedForAll {
  width: number;
  height: number;
  inputs: Prepared[];
}

/** Asks two inspectors, and takes the mean of what they say. */
class EnsembleInspector implements Inspector<PreparedForAll> {
  constructor(
    private readonly members: Inspector<Prepared>[],
    private readonly scales: Scale[]
  ) {}

  async prepare(picture: Picture, shared?: Shared): Promise<PreparedForAll> {
    const inputs = await Promise.all(this.members.map(member => member.prepare(picture, shared)));
    return { width: inputs[0].width, height: inputs[0].height, inputs };
  }

  async begin(prepared: PreparedForAll[], shared?: Shared): Promise<Inspect[]> {
    const begun: Inspect[][] = [];
    for (const [i, member] of this.members.entries())
      begun.push(
        await member.begin(
          prepared.map(p => p.inputs[i]),
          shared
        )
      );
    return prepared.map((_, picture) => async (full, check) => {
      const seen: Inspected[] = [];
      for (const inspects of begun) seen.push(await inspects[picture](full, check));
      return this.together(seen);
    });
  }

  async release(): Promise<void> {
    await Promise.all(this.members.map(member => member.release()));
  }

  private together(seen: Inspected[]): Inspected {
    const { score, maps } = combined(
      seen.map(one => ({ score: one.score, maps: [one.map!.data] })),
      this.scales
    );
    const search = seen.reduce((sum, { timing }) => sum + timing.search!, 0);
    return { score, map: { ...seen[0].map!, data: maps[0] }, timing: { search } };
  }
}

/**
 * Loads a version with two memory banks and repeats the self-test of both.
 * @throws GoodpartsError `detector-damaged`, `detector-backbone`, `detector-parity`
 */
export async function loadEnsemble(
  parts: LoadParts,
  { name, version, settings }: Stored<'ensemble'>
): Promise<Detector> {
  const { info, arrays } = await parts.store.read(name, version);
  const { members } = info as Stored<'ensemble'>;
  const opened: OpenBank[] = [];
  try {
    for (const [i, own] of memberSettings(settings).entries()) {
      const extractor = await parts.extractorFor(own);
      opened.push(
        await openBank(parts.runtime, extractor, { ...info, ...members[i], settings: own }, arraysOf(arrays, i))
      );
    }
  } catch (error) {
    await Promise.all(opened.map(({ inspector }) => inspector.release()));
    throw error;
  }
  const inspector = new EnsembleInspector(
    opened.map(one => one.inspector),
    members.map(member => member.scale)
  );
  return loadedDetector(info, inspector, Math.max(...opened.map(one => one.parity)), arrays);
}
