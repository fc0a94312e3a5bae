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

/** Where a graph goes on that its device fails. */
interface Instead {
  load: () => Promise<InferenceSession>;
  /** told once, after the graph was computed there */
  moved: (error: unknown) => void;
}

/** A loaded graph. Where its device fails, it goes on on the processor. */
export class Session {
  private spare?: Promise<InferenceSession>;
  /** the spare, once it has computed what the device did not */
  private moved?: InferenceSession;

  constructor(
    private readonly ort: Ort,
    private readonly session: InferenceSession,
    private readonly instead?: Instead
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
   */
  async run(feeds: Record<string, AnyData>): Promise<Record<string, Data>> {
    const tensors: Record<string, Tensor> = {};
    for (const [name, { data, dims }] of Object.entries(feeds)) {
      const type = typeOf(data);
      tensors[name] = new this.ort.Tensor(type, data as never, dims as number[]);
    }
    const results = this.moved
      ? await this.moved.run(tensors)
      : await this.session.run(tensors).catch((error: unknown) => this.runInstead(tensors, error));
    return Object.fromEntries(
      Object.entries(results).map(([name, t]) => [name, { data: t.data as Float32Array, dims: t.dims }])
    );
  }

  /**
   * What the processor cannot compute either was no fault of the device's: its error counts then, and the graph stays where it is. What
   * the device holds of a graph that moved is not released before the rest: a driver that failed might take the process along.
   */
  private async runInstead(tensors: Record<string, Tensor>, error: unknown) {
    if (!this.instead) throw error;
    const loading = (this.spare ??= this.instead.load());
    const spare = await loading.catch((why: unknown) => {
      if (this.spare === loading) this.spare = undefined;
      throw why;
    });
    const results = await spare.run(tensors);
    if (!this.moved) this.instead.moved(error);
    this.moved = spare;
    return results;
  }

  async release(): Promise<void> {
    const spare = await this.spare?.catch(() => undefined);
    await Promise.all([this.session.release(), spare?.release()]);
  }
}

/** ONNX Runtime on one device. Sessions are made once and kept by their owners; loading one a message would leak. */
export class Runtime {
  /** @param onDevice told when the device is given up */
  private constructor(
    private readonly ort: Ort,
    private report: DeviceReport,
    private readonly threads: number,
    private readonly onDevice?: (report: DeviceReport) => void
  ) {}

  /** What was asked for and what is used now. */
  get device(): DeviceReport {
    return this.report;
  }

  /** ONNX Runtime's version. */
  get version(): string {
    const { versions } = this.ort.env;
    return versions.node ?? versions.web ?? versions.common;
  }

  /**
   * Loads ONNX Runtime (native, else WebAssembly) and finds the device that really works.
   * @param onDevice told when the device fails in the middle of work and the processor takes over
   * @throws GoodpartsError `runtime-missing` when neither can be loaded
   */
  static async create(
    wanted: Device = 'auto',
    threads = os.availableParallelism(),
    onDevice?: (report: DeviceReport) => void
  ): Promise<Runtime> {
    const native = loadNative();
    if (!native.ort) {
      const note = `native ONNX Runtime is missing (${native.why}); run: ONNXRUNTIME_NODE_INSTALL=skip npm install onnxruntime-node`;
      return new Runtime(loadWasm(threads), { wanted, used: 'wasm', note }, threads);
    }
    const tried: string[] = [];
    for (const provider of wanted === 'auto' ? AUTO : wanted === 'cpu' ? [] : [wanted]) {
      const why = await tryProvider(native.ort, provider);
      if (!why) return new Runtime(native.ort, { wanted, used: provider }, threads, onDevice);
      tried.push(`${provider}: ${why}`);
    }
    const note = wanted === 'auto' || wanted === 'cpu' ? undefined : `${tried.join('; ')}; the CPU is used instead`;
    return new Runtime(native.ort, { wanted, used: 'cpu', note }, threads);
  }

  /** The same runtime on the processor, for what the device computes wrongly; undefined where this one is on it. */
  onProcessor(): Runtime | undefined {
    const { used, wanted } = this.report;
    if (used === this.processor) return undefined;
    return new Runtime(this.ort, { wanted, used: this.processor }, this.threads);
  }

  /** Gives the device up: every graph that is loaded from now on is computed on the processor. */
  leaveDevice(why: string): void {
    const { used, wanted } = this.report;
    if (used === this.processor) return;
    const note = `${used} failed: ${why}; the CPU is used instead until the engine starts again`;
    this.report = { wanted, used: this.processor, note };
    this.onDevice?.(this.report);
  }

  /**
   * Loads a graph; what the device cannot load or compute is computed on the processor, for which the graph is kept in memory.
   * @param where `processor`: what not every device can, and what is little beside bringing it there
   */
  async session(model: Uint8Array, where: 'device' | 'processor' = 'device'): Promise<Session> {
    const { processor } = this;
    const { used } = this.report;
    const load = (): Promise<InferenceSession> => this.load(model, processor);
    if (where === 'processor' || used === processor) return new Session(this.ort, await load());
    try {
      const moved: Instead['moved'] = error => this.leaveDevice(firstLine(error));
      return new Session(this.ort, await this.load(model, used), { load, moved });
    } catch (error) {
      const session = new Session(this.ort, await load());
      this.leaveDevice(firstLine(error));
      return session;
    }
  }

  private get processor(): 'cpu' | 'wasm' {
    return this.report.used === 'wasm' ? 'wasm' : 'cpu';
  }

  private load(model: Uint8Array, place: Provider): Promise<InferenceSession> {
    return this.ort.InferenceSession.create(model, {
      executionProviders: place === this.processor ? [place] : [place, 'cpu'],
      intraOpNumThreads: this.threads,
      // errors come as exceptions; to print them as well would only alarm where a network is tried out
      logSeverityLevel: 4,
      // threads that spin while they wait win a little on an idle machine and lose fourfold beside other work (Node-RED, a fit)
      extra: { session: { intra_op: { allow_spinning: '0' } } }
    });
  }
}

const firstLine = (error: unknown): string => (error as Error).message.split('\n')[0].slice(0, 200);

function loadNative(): { ort?: Ort; why?: string } {
  if (process.env.GOODPARTS_RUNTIME === 'wasm') return { why: 'GOODPARTS_RUNTIME=wasm' };
  // from 1.29 on, ONNX Runtime on Linux and macOS reports to Microsoft (and keeps a device id in ~/.cache/Microsoft) unless this
  // is set before it is loaded; microsoft/onnxruntime#27379. We work offline; whoever wants it sets the variable to 0.
  process.env.ORT_DISABLE_TELEMETRY ??= '1';
  // NVIDIA's libraries would shorten float32 to 10 bits (TF32); scores are to be the same on every device
  process.env.NVIDIA_TF32_OVERRIDE ??= '0';
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
    return firstLine(error);
  }
}
