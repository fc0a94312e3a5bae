// How much of the processor a backbone uses: its floating-point operations a second against those of a large MatMul in the same ONNX Runtime.
import path from 'node:path';
import { loadBackbone } from '../../lib/engine/backbone';
import { cutModel, needed, pictureInput } from '../../lib/engine/onnx/cut';
import { GraphBuilder } from '../../lib/engine/onnx/builder';
import { readModel } from '../../lib/engine/onnx/file';
import { toNumber, type NodeProto } from '../../lib/engine/onnx/proto';
import { Runtime, type Data } from '../../lib/engine/runtime';
import { apart } from '../apart';
import type { Context } from '../context';
import { int8Bench } from '../int8';
import type { Row, SectionResult } from '../result';
import { spread, timed } from '../rounds';

interface Job {
  backbone: string;
  threads: number;
  runs: number;
  /** side of the MatMul's matrices */
  side: number;
}

interface Found {
  /** multiply-adds of one picture, 10^9 */
  gigaMacs: number;
  times: number[];
  matMulTimes: number[];
}

const SIZE = 256;
const EMBEDDED = path.resolve(__dirname, '../../../models/backbone.onnx');
const product = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
const gigaFlops = (macs: number, ms: number): number => (2 * macs) / (ms * 1e6);

export async function work({ backbone: file, threads, runs, side }: Job): Promise<Found> {
  const runtime = await Runtime.create('cpu', threads);
  const { session, layers } = await loadBackbone(runtime, file, []);
  const picture: Data = { data: new Float32Array(3 * SIZE * SIZE).fill(0.5), dims: [1, 3, SIZE, SIZE] };
  const input = session.inputs[0];
  const macs = await multiplyAdds(runtime, file === 'embedded' ? EMBEDDED : file, layers, picture);
  const matMul = await runtime.session(matMulGraph(side));
  const square: Data = { data: Float32Array.from({ length: side * side }, (_, i) => (i % 7) - 3), dims: [side, side] };
  const found: Found = { gigaMacs: macs / 1e9, times: [], matMulTimes: [] };
  for (let i = 0; i < runs; i++) {
    found.times.push(...(await timed([picture], data => session.run({ [input]: data }), 1)));
    found.matMulTimes.push(...(await timed([square], data => matMul.run({ a: data, b: data }), i ? 0 : 1)));
  }
  return found;
}

function matMulGraph(side: number): Uint8Array {
  const g = new GraphBuilder();
  const [a, b] = ['a', 'b'].map(name => g.input(name, 'float', [side, side]));
  g.output(g.op('MatMul', [a, b]), 'product', 'float', [side, side]);
  return g.build();
}

/** Multiply-adds of all Conv, MatMul and Gemm nodes that the layers need, for one picture; the sizes are found by running them. */
async function multiplyAdds(runtime: Runtime, file: string, layers: string[], picture: Data): Promise<number> {
  const { model } = await readModel(file);
  const { graph } = model;
  const weights = new Map(graph.initializer.map(tensor => [tensor.name ?? '', (tensor.dims ?? []).map(toNumber)]));
  const nodes = needed(graph, layers);
  const heavy = nodes.filter(n => ['Conv', 'MatMul', 'Gemm'].includes(n.opType));
  const made = new Set(nodes.flatMap(n => n.output));
  const wanted = heavy.flatMap(n => [n.output[0], ...n.input.slice(0, 2).filter(name => made.has(name))]);
  const session = await runtime.session(cutModel(model, [...new Set(wanted)], pictureInput(graph, file), file));
  const values = await session.run({ [session.inputs[0]]: picture });
  await session.release();
  const dims = (name: string): readonly number[] => values[name]?.dims ?? weights.get(name) ?? picture.dims;
  return heavy.reduce((sum, n) => sum + product(dims(n.output[0])) * inner(n, dims), 0);
}

/** Multiply-adds of one number of the node's output. */
function inner(node: NodeProto, dims: (name: string) => readonly number[]): number {
  // a kernel is [out, in / groups, height, width]
  if (node.opType === 'Conv') return product(dims(node.input[1]).slice(1));
  const left = dims(node.input[0]);
  const turned = node.opType === 'Gemm' && node.attribute.some(a => a.name === 'transA' && a.i);
  return turned ? left[0] : left[left.length - 1];
}

export async function run(context: Context): Promise<SectionResult> {
  const { rounds, threads, quick } = context.options;
  const [runs, side] = quick ? [2, 512] : [10, 2048];
  const found = context.backbones.map(() => [] as Found[]);
  const int8 = context.backbones.map(() => [] as number[]);
  for (let round = 0; round < rounds; round++)
    context.backbones.forEach(({ file }, i) => {
      found[i].push(apart<Found>(__filename, { backbone: file, threads, runs, side } satisfies Job));
      int8[i].push(...int8Bench({ backbone: file, runs, threads }));
    });
  const rows = context.backbones.map(({ name }, i): Row => {
    const { gigaMacs } = found[i][0];
    const flops = spread(found[i].flatMap(f => f.times.map(ms => gigaFlops(gigaMacs * 1e9, ms))));
    const most = spread(found[i].flatMap(f => f.matMulTimes.map(ms => gigaFlops(side ** 3, ms))));
    return {
      backbone: name,
      gigaMacs: Math.round(gigaMacs * 100) / 100,
      ms: spread(found[i].flatMap(f => f.times)),
      gigaFlops: flops,
      matMulGigaFlops: most,
      share: Math.round((100 * flops.median) / most.median),
      int8Ms: spread(int8[i])
    };
  });
  return { rows, notes: [`MatMul: ${side} x ${side} x ${side}, float32.`] };
}
