import { LoadedDetector, type Detector, type Inspect, type Inspector, type LoadParts } from '../detector';
import type { Picture } from '../decode';
import type { Prepared } from '../features';
import { MapHead, type MapSettings } from '../head';
import type { Npy } from '../npy';
import { accepted, largestDifference } from '../selftest';
import type { NetworkFacts } from '../types';
import { NETWORK, type Stored } from '../version';
import { decodeNetwork } from './file';
import { middle, Network, numbersOf } from './network';

/** A network that gives scores and maps by itself; its maps are placed on the picture as it came. */
export class NetworkInspector implements Inspector<Prepared> {
  private readonly settings: MapSettings;

  constructor(
    private readonly network: Network,
    private readonly facts: NetworkFacts,
    private readonly map: MapHead
  ) {
    const { width, height } = facts.covered;
    // enlarged bilinearly, as pci does it, and not blurred: the network has done what it has to
    this.settings = { preset: 'pci', smoothing: 0, inputWidth: width, inputHeight: height };
  }

  prepare(picture: Picture): Promise<Prepared> {
    return this.network.prepare(picture);
  }

  async begin(prepared: Prepared[]): Promise<Inspect[]> {
    return prepared.map(p => full => this.inspect(p, full));
  }

  private async inspect(p: Prepared, full: boolean): ReturnType<Inspect> {
    const start = performance.now();
    const { score, map } = await this.network.run(p.input);
    const timing = { backbone: performance.now() - start };
    if (!map) return { score, timing };
    const { left, top } = middle(this.facts.input, this.facts.covered);
    const window = { ...p.window, left: p.window.left + left, top: p.window.top + top };
    return { score, map: await this.map.inOriginal(map.data, map, this.settings, window, p, full), timing };
  }

  async release(): Promise<void> {
    await Promise.all([this.network.release(), this.map.release()]);
  }
}

/**
 * Loads a version with a network of its own and repeats its self-test.
 * @throws GoodpartsError `detector-damaged`, `detector-parity`, `network-output`
 */
export async function loadOnnx(
  { runtime, store }: LoadParts,
  { name, version, network: facts, selfTest }: Stored<'onnx'>
): Promise<Detector> {
  const { info, arrays, files } = await store.read(name, version);
  const model = decodeNetwork(files[NETWORK], `${name} ${version}`);
  const network = await Network.open(runtime, model, facts, facts.source.file);
  try {
    const image = arrays['selftest-image'] as Npy<Uint8Array>;
    const [height, width] = image.shape;
    const { input } = await network.prepare({ data: image.data, width, height });
    const got = numbersOf(await network.run(input));
    const expected = Float32Array.from([selfTest.score, ...(arrays['selftest-map'].data as Float32Array)]);
    const parity = accepted(largestDifference(got, expected), runtime.device.used);
    return new LoadedDetector(info, new NetworkInspector(network, facts, await MapHead.create(runtime)), parity);
  } catch (error) {
    await network.release();
    throw error;
  }
}
