// One picture, from the JPEG file to its score and map: Goodparts and, with the same backbone, the peers. Our map is the one that the
// nodes take; it has the size of the network's input, as anomalib's.
import fs from 'node:fs';
import { Engine, GoodpartsError } from '../../lib/engine';
import type { PatchCoreInfo, ScoreResult } from '../../lib/engine/types';
import { apart } from '../apart';
import { measurePeer, storeOf, type BenchBackbone, type Context } from '../context';
import type { Peer, PeerResult, PeerScore } from '../peers';
import type { Cell, Row, SectionResult } from '../result';
import { spread, timed } from '../rounds';

const PEERS: Peer[] = ['anomalib', 'openvino', 'faiss'];

interface Job {
  store: string;
  pictures: string[];
  threads: number;
}

interface Ours {
  times: number[];
  stages: ScoreResult['timing'][];
  bank: number;
}

/** Times of one system over all rounds. */
interface System {
  name: string;
  times: number[];
  search: number[];
  backboneTimes: number[];
  bank: number;
  results: string;
}

export async function work({ store, pictures, threads }: Job): Promise<Ours> {
  const engine = new Engine({ store, threads, device: 'cpu' });
  const { bankSize: bank } = (await engine.load('bench')) as PatchCoreInfo;
  const stages: ScoreResult['timing'][] = [];
  const times = await timed(pictures, async file => {
    const [result] = await engine.score('bench', [fs.readFileSync(file)], { map: 'small' });
    if (result instanceof GoodpartsError) throw result;
    stages.push(result.timing);
  });
  return { times, stages: stages.slice(-pictures.length), bank };
}

export async function run(context: Context): Promise<SectionResult> {
  const rows: Row[] = [];
  const notes: string[] = [];
  for (const backbone of context.backbones) rows.push(...measure(context, backbone, notes));
  return { rows, notes };
}

function measure(context: Context, backbone: BenchBackbone, notes: string[]): Row[] {
  const { rounds, threads, quick } = context.options;
  const pictures = context.pictures.slice(0, quick ? 3 : 15);
  const job: Job = { store: storeOf(context, backbone), pictures, threads };
  const systems = new Map<string, System>();
  const broken = new Set<string>();
  for (let round = 0; round < rounds; round++) {
    addOurs(systems, apart<Ours>(__filename, job));
    for (const peer of backbone.peer && context.peers ? PEERS : []) {
      if (broken.has(peer)) continue;
      try {
        const count = pictures.length;
        addPeers(systems, peer, measurePeer(context, { peer, backbone: backbone.peer!, phases: ['score'], count }));
      } catch (error) {
        broken.add(peer);
        notes.push(`${backbone.name}: ${(error as Error).message}`);
      }
    }
  }
  return [...systems.values()].map(system => rowOf(backbone.name, system));
}

function addPeers(systems: Map<string, System>, peer: Peer, { score, scoreF32 }: PeerResult): void {
  if (peer === 'anomalib') addPeer(systems, 'anomalib, torch', score!, 'reference');
  if (peer === 'faiss') addPeer(systems, 'patchcore-inspection, torch and faiss', score!, '');
  if (scoreF32) addPeer(systems, 'anomalib, OpenVINO f32', scoreF32, agreement(scoreF32));
  if (scoreF32 && score!.precision !== 'f32')
    addPeer(systems, `anomalib, OpenVINO as it comes (${score!.precision})`, score!, agreement(score!));
}

const agreement = ({ equal, worstRelativeDifference: worst = NaN }: PeerScore): string =>
  equal ? 'equal' : `not equal (${worst.toPrecision(1)})`;

function systemOf(systems: Map<string, System>, name: string, bank: number, results: string): System {
  const known = systems.get(name) ?? { name, times: [], search: [], backboneTimes: [], bank, results };
  systems.set(name, known);
  return known;
}

function addOurs(systems: Map<string, System>, { times, stages, bank }: Ours): void {
  const system = systemOf(systems, 'Goodparts', bank, '');
  system.times.push(...times);
  system.search.push(...stages.map(stage => stage.search));
  system.backboneTimes.push(...stages.map(stage => stage.backbone));
}

function addPeer(systems: Map<string, System>, name: string, score: PeerScore, results: string): void {
  const system = systemOf(systems, name, score.bank[0], results);
  system.times.push(...score.ms.times);
  system.search.push(...(score.searchMs?.times ?? []));
}

function rowOf(backbone: string, { name, times, search, backboneTimes, bank, results }: System): Row {
  const some = (values: number[]): Cell => (values.length ? spread(values) : null);
  return {
    backbone,
    system: name,
    ms: spread(times),
    backboneMs: some(backboneTimes),
    searchMs: some(search),
    bank,
    results
  };
}
