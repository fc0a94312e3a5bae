/** examples/kafka.json in real Node-RED processes: whole, or its inspection alone in one or several of them. */
import fs from 'node:fs';
import path from 'node:path';
import { Engine } from '../../lib/engine';
import type { Judged } from '../../lib/red/judge';
import type { KafkaRecord } from '../services/kafka';
import { parts, put, ROOT, scratch, SMALL } from '../support';
import type { FlowNode } from './editor';
import { startNodeRed, type NodeRed } from './node-red';
import { modulesOf } from './palette';

type Part = FlowNode & { z?: string; label?: string; d?: boolean };

export const FLOW: Part[] = JSON.parse(fs.readFileSync(path.join(ROOT, 'examples/kafka.json'), 'utf8'));

/** The inspection's side of the flow. */
export const INSPECTION = (() => {
  const tab = FLOW.find(({ label }) => label?.endsWith('the inspection'))!;
  return FLOW.filter(node => node === tab || node.z === tab.id || node.type === 'global-config');
})();

/** The same, but for who reads the parts: the Kafka node, which is switched off in the example, and not "read parts". */
export const WITH_KAFKA_IN = INSPECTION.map(node => {
  if (node.name === 'read parts') return { ...node, d: true };
  return ['parts (kafka in)', 'from the node'].includes(node.name ?? '') ? { ...node, d: false } : node;
});

/** Where a record lies in the topic `parts`. */
export interface Source {
  topic: string;
  partition: number;
  offset: number | null;
}

export type Verdict = Pick<Judged, 'verdict' | 'score' | 'threshold' | 'detector' | 'regions'> & {
  part: string;
  recipe: string;
  source: Source;
  overlay: boolean;
};

export interface Rejection {
  part: string;
  recipe?: string;
  reason: string;
  code: string;
  source: Source | null;
}

export const json = <T>({ value }: KafkaRecord): T => JSON.parse(value!.toString()) as T;

export interface Inspector extends NodeRed {
  /** lines that this process wrote of the parts that it inspected */
  lines: () => { part: string; verdict: string; version?: string; offset: number }[];
}

/** A Node-RED with these nodes and these brokers. */
export async function inspector(nodes: Part[], brokers: string, store: string, folder = scratch()): Promise<Inspector> {
  const flows = path.join(scratch(), 'flows.json');
  const log = path.join(scratch(), 'parts.log');
  put(flows, JSON.stringify(nodes));
  const env = { KAFKA_BROKERS: brokers, GOODPARTS_STORE: store, PARTS_LOG: log, PARTS_FOLDER: folder };
  const nodeRed = await startNodeRed({ flows, env, palette: modulesOf(FLOW) });
  const lines = () =>
    fs.existsSync(log)
      ? fs
          .readFileSync(log, 'utf8')
          .trim()
          .split('\n')
          .map(line => JSON.parse(line))
      : [];
  return { ...nodeRed, lines };
}

/** Fits a small detector of the discs that `part()` draws; a new version each time. */
export async function fitDisc(store: string): Promise<string> {
  const engine = new Engine({ store });
  const { version } = await engine.fit('disc', await parts(8), SMALL);
  await engine.close();
  return version;
}
