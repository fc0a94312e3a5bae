// The search alone: our search graph against one large MatMul and TopK in the same ONNX Runtime, on the same patches; scikit-learn and faiss.
import fs from 'node:fs';
import path from 'node:path';
import { decode } from '../../lib/engine/decode';
import { Extractor } from '../../lib/engine/features';
import { createSearch } from '../../lib/engine/head';
import { decodeNpy } from '../../lib/engine/npy';
import { GraphBuilder } from '../../lib/engine/onnx/builder';
import { completeSettings } from '../../lib/engine/presets';
import { randomStream } from '../../lib/engine/random';
import { Runtime } from '../../lib/engine/runtime';
import { apart } from '../apart';
import { measurePeer, storeOf, type Context } from '../context';
import type { PeerBackbone } from '../peers';
import type { Row, SectionResult } from '../result';
import { spread, timed } from '../rounds';
import { truth } from './search-truth';

interface Job {
  /** real patches: of this detector and these pictures; else random ones around random centres */
  real?: { store: string; backbone: string; pictures: string[] };
  dimensions: number;
  queries: number;
  bank: number;
  threads: number;
  pictures: number;
}

interface Found {
  bank: number;
  ours: number[];
  matMul: number[];
  recall: number;
  scoreError: number;
}

interface Patches {
  bank: Float32Array;
  queries: Float32Array[];
}

/** Neighbours that ONNX Runtime's float32 finds, among which the nearest one is looked for in double precision. */
const CANDIDATES = 8;
const CENTRES = 200;

export async function work(job: Job): Promise<Found> {
  const runtime = await Runtime.create('cpu', job.threads);
  const { bank, queries } = job.real ? await realPatches(runtime, job) : randomPatches(job);
  const { dimensions } = job;
  const size = bank.length / dimensions;
  const head = await createSearch(runtime, bank, dimensions, completeSettings());
  const feed = (patches: Float32Array) => ({
    patches: { data: patches, dims: [patches.length / dimensions, dimensions] }
  });
  const plain = await runtime.session(matMulGraph(bank, dimensions, 1));
  const found: Found = { bank: size, ours: [], matMul: [], recall: 0, scoreError: 0 };
  // in turns, picture by picture
  for (const patches of queries) {
    found.ours.push(...(await timed([patches], () => head.search(patches), 1)));
    found.matMul.push(...(await timed([patches], () => plain.run(feed(patches)), 1)));
  }
  const wide = await runtime.session(matMulGraph(bank, dimensions, CANDIDATES));
  for (const patches of queries) {
    const { indices } = await wide.run(feed(patches));
    const exact = truth(patches, bank, dimensions, indices.data, CANDIDATES);
    const { nearest, score } = await head.search(patches);
    found.recall += exact.share(nearest) / queries.length;
    found.scoreError = Math.max(found.scoreError, Math.abs(score - exact.score) / exact.score);
  }
  return found;
}

/** `||b||^2 - 2qb` of all pairs, and the k smallest a query: what one writes without thinking further. */
function matMulGraph(bank: Float32Array, dimensions: number, k: number): Uint8Array {
  const size = bank.length / dimensions;
  const turned = new Float32Array(bank.length);
  const norms = new Float32Array(size);
  for (let i = 0; i < size; i++)
    for (let d = 0; d < dimensions; d++) {
      const value = bank[i * dimensions + d];
      turned[d * size + i] = -2 * value;
      norms[i] += value * value;
    }
  const g = new GraphBuilder();
  const products = g.op('MatMul', [
    g.input('patches', 'float', ['P', dimensions]),
    g.floats(turned, [dimensions, size])
  ]);
  const relative = g.op('Add', [products, g.floats(norms, [size])]);
  const [values, indices] = g.ops('TopK', [relative, g.ints(k)], { axis: 1, largest: 0 }, 2);
  g.output(values, 'values', 'float', ['P', k]);
  g.output(g.op('Cast', [indices], { to: 1 }), 'indices', 'float', ['P', k]);
  return g.build();
}

async function realPatches(runtime: Runtime, { real, bank, queries, pictures, dimensions }: Job): Promise<Patches> {
  const { store, backbone, pictures: files } = real!;
  const version = path.join(store, 'bench', fs.readFileSync(path.join(store, 'bench/current'), 'utf8').trim());
  const all = decodeNpy(fs.readFileSync(path.join(version, 'bank.npy'))).data as Float32Array;
  const extractor = await Extractor.create(runtime, completeSettings({ backbone }));
  const embedded: Float32Array[] = [];
  for (const file of files.slice(0, pictures)) {
    const { input } = await extractor.prepare(await decode(fs.readFileSync(file), {}));
    const { patches } = await extractor.embed([input]);
    embedded.push(patches[0].subarray(0, queries * dimensions));
  }
  await extractor.release();
  return { bank: all.slice(0, bank * dimensions), queries: embedded };
}

function randomPatches({ bank, queries, pictures, dimensions }: Job): Patches {
  const random = randomStream(1);
  const centres = Float32Array.from({ length: CENTRES * dimensions }, random);
  const some = (count: number): Float32Array => {
    const rows = new Float32Array(count * dimensions);
    for (let i = 0; i < count; i++) {
      const centre = Math.floor(random() * CENTRES) * dimensions;
      for (let d = 0; d < dimensions; d++) rows[i * dimensions + d] = centres[centre + d] + 0.3 * random();
    }
    return rows;
  };
  return { bank: some(bank), queries: Array.from({ length: pictures }, () => some(queries)) };
}

export async function run(context: Context): Promise<SectionResult> {
  const { quick } = context.options;
  const rows: Row[] = [];
  const notes: string[] = [];
  const wide = context.backbones.find(b => b.peer === 'wide_resnet50_2');
  if (!wide) notes.push('1,536 dimensions: random patches around random centres, as there is no WideResNet50-2.');
  for (const [dimensions, backbone] of [
    [384, context.backbones[0]],
    [1536, wide]
  ] as const)
    for (const bank of quick ? [1500] : [16_000, 21_000])
      for (const queries of [784, 1024]) {
        const real = backbone && {
          store: storeOf(context, backbone),
          backbone: backbone.file,
          pictures: context.pictures
        };
        rows.push(
          ...ours(context, {
            real,
            dimensions,
            queries,
            bank,
            threads: context.options.threads,
            pictures: quick ? 2 : 8
          })
        );
      }
  for (const backbone of context.peers ? context.backbones : [])
    if (backbone.peer) rows.push(...peers(context, backbone.peer));
  return { rows, notes };
}

function ours({ options }: Context, job: Job): Row[] {
  const found = Array.from({ length: options.rounds }, () => apart<Found>(__filename, job));
  const [{ bank, recall, scoreError }] = found;
  const shape = { dimensions: job.dimensions, bank, queries: job.queries };
  return [
    { ...shape, system: 'Goodparts', ms: spread(found.flatMap(f => f.ours)), recall, scoreError },
    { ...shape, system: 'ONNX Runtime, one MatMul and TopK', ms: spread(found.flatMap(f => f.matMul)) }
  ];
}

/** These take random patches of their own, which changes nothing for an exact search. */
function peers(context: Context, backbone: PeerBackbone): Row[] {
  const found = Array.from(
    { length: context.options.rounds },
    () => measurePeer(context, { peer: 'sklearn', backbone }).search!
  );
  const [bank, dimensions] = found[0].bank;
  const shape = { dimensions, bank, queries: 1024 };
  return [
    { ...shape, system: 'scikit-learn, brute force', ms: spread(found.flatMap(f => f.sklearnMs.times)) },
    { ...shape, system: 'faiss IndexFlatL2', ms: spread(found.flatMap(f => f.faissMs.times)) }
  ];
}
