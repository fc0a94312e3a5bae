import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { InferenceSession, Tensor, TensorConstructor } from 'onnxruntime-common';
import { GoodpartsError } from './errors';
import { Device, DeviceReport } from './types';
import { GraphBuilder } from './onnx/builder';

type Ort = {
  InferenceSession: { create(model: Uint8Array, options?: InferenceSession.SessionOptions): Promise<InferenceSession> };
  Tensor: TensorConstructor;
  env: { versions: { common: string; node?: string; web?: string } };
  listSupportedBackends?: () => { name: string; bundled: boolean }[];
};
type Provider = DeviceReport['used'];
/** What a graph takes and gives: typed data with its dims. */
export interface Data<T extends Float32Array | Uint8Array | Int32Array | BigInt64Array = Float32Array> {
  data: T;
  dims: readonly number[];
}
export type AnyData = Data | Data<Uint8Array> | Data<Int32Array> | Data<BigInt64Array>;

/** GPU providers in the order in which `auto` tries them. WebGPU is not among them: it has to be asked for. */
const AUTO: Provider[] = ['cuda', 'dml', 'coreml'];

export const int64 = (...values: number[]): Data<BigInt64Array> => ({
  data: BigInt64Array.from(values.map(BigInt)),
  dims: [values.length]
});

function typeOf(data: AnyData['data']): Tensor.Type {
  if (data instanceof Float32Array) return 'float32';
  if (data instanceof Uint8Array) return 'uint8';
  return data instanceof Int32Array ? 'int32' : 'int64';
}

/** A loaded graph. */
export class Session {
  /** @param place what computes the graph */
  constructor(
    private readonly ort: Ort,
    private readonly session: InferenceSession,
    private readonly place: Provider
  ) {}

  get inputs(): readonly string[] {
    return this.session.inputNames;
  }

  get outputs(): readonly string[] {
    return this.session.outputNames;
  }

  /**
   * Runs the graph. Inputs are not copied on the CPU; outputs are float32, and always fresh memory: ONNX Runtime copies them even where
   * it is given a place for them (onnxruntime-node 1.30).
   * @throws GoodpartsError `device-failed` where a device cannot what a processor can
   */
  async run(feeds: Record<string, AnyData>): Promise<Record<string, Data>> {
    const tensors: Record<string, Tensor> = {};
    for (const [name, { data, dims }] of Object.entries(feeds)) {
      const type = typeOf(data);
      tensors[name] = new this.ort.Tensor(type, data as never, dims as number[]);
    }
    const results = await this.session.run(tensors).catch((error: unknown) => {
      throw failedOn(this.place, error);
    });
    return Object.fromEntries(
      Object.entries(results).map(([name, t]) => [name, { data: t.data as Float32Array, dims: t.dims }])
    );
  }

  release(): Promise<void> {
    return this.session.release();
  }
}

/** ONNX Runtime on one device. Sessions are made once and kept by their owners; loading one a message would leak. */
export class Runtime {
  private constructor(
    private readonly ort: Ort,
    readonly device: DeviceReport,
    private readonly threads: number
  ) {}

  /** ONNX Runtime's version. */
  get version(): string {
    const { versions } = this.ort.env;
    return versions.node ?? versions.web ?? versions.common;
  }

  /**
   * Loads ONNX Runtime (native, else WebAssembly) and finds the device that really works.
   * @throws GoodpartsError `runtime-missing` when neither can be loaded
   */
  static async create(wanted: Device = 'auto', threads = os.availableParallelism()): Promise<Runtime> {
    const native = loadNative();
    if (!native.ort) {
      const note = `native ONNX Runtime is missing (${native.why}); run: ONNXRUNTIME_NODE_INSTALL=skip npm install onnxruntime-node`;
      return new Runtime(loadWasm(threads), { wanted, used: 'wasm', note }, threads);
    }
    const tried: string[] = [];
    for (const provider of wanted === 'auto' ? AUTO : wanted === 'cpu' ? [] : [wanted]) {
      const why = await tryProvider(native.ort, provider);
      if (!why) return new Runtime(native.ort, { wanted, used: provider }, threads);
      tried.push(`${provider}: ${why}`);
    }
    const note = wanted === 'auto' || wanted === 'cpu' ? undefined : `${tried.join('; ')}; the CPU is used instead`;
    return new Runtime(native.ort, { wanted, used: 'cpu', note }, threads);
  }

  /** @param where `processor`: what not every device can, and what is little beside bringing it there */
  async session(model: Uint8Array, where: 'device' | 'processor' = 'device'): Promise<Session> {
    const { used } = this.device;
    const processor = used === 'wasm' ? 'wasm' : 'cpu';
    const place = where === 'processor' ? processor : used;
    const options: InferenceSession.SessionOptions = {
      executionProviders: place === processor ? [processor] : [place, 'cpu'],
      intraOpNumThreads: this.threads,
      // errors come as exceptions; to print them as well would only alarm where a network is tried out
      logSeverityLevel: 4,
      // threads that spin while they wait win a little on an idle machine and lose fourfold beside other work (Node-RED, a fit)
      extra: { session: { intra_op: { allow_spinning: '0' } } }
    };
    return new Session(this.ort, await this.ort.InferenceSession.create(model, options), place);
  }
}

/** What a device could not compute, and what to do; what goes wrong on the processor is for the caller to name. */
function failedOn(place: Provider, error: unknown): unknown {
  if (place === 'cpu' || place === 'wasm') return error;
  const why = (error as Error).message.split('\n')[0].slice(0, 200);
  return new GoodpartsError('device-failed', `${place} cannot compute this: ${why} Set the device to cpu.`, {
    device: place
  });
}

function loadNative(): { ort?: Ort; why?: string } {
  if (process.env.GOODPARTS_RUNTIME === 'wasm') return { why: 'GOODPARTS_RUNTIME=wasm' };
  // from 1.29 on, ONNX Runtime on Linux and macOS reports to Microsoft (and keeps a device id in ~/.cache/Microsoft) unless this
  // is set before it is loaded; microsoft/onnxruntime#27379. We work offline; whoever wants it sets the variable to 0.
  process.env.ORT_DISABLE_TELEMETRY ??= '1';
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- optional: it must be possible to live without it
    return { ort: require('onnxruntime-node') as Ort };
  } catch (error) {
    return { why: (error as Error).message.split('\n')[0] };
  }
}

function loadWasm(threads: number): Ort {
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- only when the native runtime is missing
    const ort = require('onnxruntime-web') as Ort & { env: { wasm: { numThreads: number } } };
    ort.env.wasm.numThreads = threads;
    return ort;
  } catch (error) {
    throw new GoodpartsError(
      'runtime-missing',
      `ONNX Runtime cannot be loaded: ${(error as Error).message}. Run: npm install onnxruntime-node`
    );
  }
}

/**
 * ONNX Runtime for CUDA comes in a library of its own, which is fetched apart; asking for it while it is not there works, but prints
 * alarming lines on the console.
 */
function cudaInstalled(): boolean {
  const bin = path.join(path.dirname(require.resolve('onnxruntime-node/package.json')), 'bin');
  const files = fs.readdirSync(bin, { recursive: true }) as string[];
  return files.some(
    f => f.includes('onnxruntime_providers_cuda') && f.includes(process.platform) && f.includes(process.arch)
  );
}

/** Runs a tiny graph on a provider; returns why it does not work, or undefined. */
async function tryProvider(ort: Ort, provider: Provider): Promise<string | undefined> {
  if (!ort.listSupportedBackends?.().some(b => b.name === provider)) return 'not part of this build of ONNX Runtime';
  if (provider === 'cuda' && !cudaInstalled()) return 'its libraries are not installed (see docs/devices.md)';
  const g = new GraphBuilder();
  g.output(g.op('Add', [g.input('x', 'float', [1]), g.scalar(1)]), 'y', 'float', [1]);
  try {
    const session = await ort.InferenceSession.create(g.build(), {
      executionProviders: [provider],
      logSeverityLevel: 4
    });
    await session.run({ x: new ort.Tensor('float32', Float32Array.of(1), [1]) });
    await session.release();
    return undefined;
  } catch (error) {
    if (provider === 'webgpu') return 'no graphics driver was found that it can use (see docs/devices.md)';
    return (error as Error).message.split('\n')[0].slice(0, 200);
  }
}
