import type { Picture } from './decode';
import type { Detector, Inspect, Inspected, Inspector, LoadParts } from './detector';
import { combined, memberSettings } from './ensemble';
import { loadedDetector, openBank, type OpenBank } from './patchcore';
import type { Shared } from './shared';
import type { Scale, Size } from './types';
import { arraysOf, type Stored } from './version';

/** A picture as each member is given it. */
interface PreparedForAll<Input> extends Size {
  inputs: Input[];
}

/** Asks two inspectors, and adds what they say. */
class EnsembleInspector<Input extends Size> implements Inspector<PreparedForAll<Input>> {
  readonly oneByOne: boolean;

  constructor(
    private readonly members: Inspector<Input>[],
    private readonly scales: Scale[]
  ) {
    this.oneByOne = members.some(member => member.oneByOne);
  }

  async prepare(picture: Picture, shared?: Shared): Promise<PreparedForAll<Input>> {
    const inputs = await Promise.all(this.members.map(member => member.prepare(picture, shared)));
    return { width: picture.width, height: picture.height, inputs };
  }

  async begin(prepared: PreparedForAll<Input>[], shared?: Shared): Promise<Inspect[]> {
    const begun: Inspect[][] = [];
    for (const [i, member] of this.members.entries()) {
      const own = prepared.map(p => p.inputs[i]);
      begun.push(await member.begin(own, shared));
    }
    return prepared.map((_, picture) => async (full, check) => {
      const seen: Inspected[] = [];
      for (const inspects of begun) {
        check();
        seen.push(await inspects[picture](full, check));
      }
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
    const timing: Inspected['timing'] = {};
    for (const one of seen)
      for (const [stage, ms] of Object.entries(one.timing) as [keyof typeof timing, number][])
        timing[stage] = (timing[stage] ?? 0) + ms;
    return { score, map: { ...seen[0].map!, data: maps[0] }, timing };
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
      const bank = { ...info, ...members[i], settings: own };
      opened.push(await openBank(parts.runtime, extractor, bank, arraysOf(arrays, i)));
    }
  } catch (error) {
    await Promise.all(opened.map(({ whole }) => whole.release()));
    throw error;
  }
  const detector = <Input extends Size>(inspectors: Inspector<Input>[]): Detector => {
    const inspector = new EnsembleInspector(
      inspectors,
      members.map(member => member.scale)
    );
    return loadedDetector(info, inspector, Math.max(...opened.map(({ parity }) => parity)), arrays);
  };
  const tiled = opened.flatMap(one => one.tiled ?? []);
  return tiled.length ? detector(tiled) : detector(opened.map(({ whole }) => whole));
}
