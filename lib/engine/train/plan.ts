import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Extractor } from '../features';
import { memoryRoom } from '../memory';
import { planNetwork } from '../network/plan';
import { MB } from '../plan';
import { randomStream } from '../random';
import type { Runtime } from '../runtime';
import type { FitPlace } from '../start';
import { Turns } from '../turns';
import type { FitPlan, FitSettings, PlanRequest } from '../types';
import { methodFor } from './methods';
import type { Method } from './method';
import { checkTeacher, memoryOf, refusedFor, withSize } from './start';
import { freshState, Trainer, type Feeds } from './trainer';
import { divided, epochsFor } from './training';

/** Steps at the most that are measured: more than there is time for. */
const STEPS = 100;

/**
 * Predicts a training from some of its steps, with drawn pictures, and the detector from an untrained one, which is as large and as fast.
 * That it may end early is not counted. Saves nothing.
 * @throws GoodpartsError `backbone-*`
 */
export async function planTraining(
  { runtime, settings: wanted, maxMemory, extractorFor }: FitPlace,
  request: PlanRequest
): Promise<FitPlan> {
  const settings = withSize(wanted);
  const teacher = settings.method === 'efficientad' ? await extractorFor(settings) : undefined;
  try {
    if (teacher) checkTeacher(teacher.value, settings);
    return await measured(runtime, settings, request, teacher?.value, maxMemory);
  } finally {
    teacher?.release();
  }
}

async function measured(
  runtime: Runtime,
  settings: Required<FitSettings>,
  request: PlanRequest,
  extractor?: Extractor,
  maxMemory?: number
): Promise<FitPlan> {
  const { inputWidth, inputHeight } = settings;
  const random = randomStream(1);
  const pictures = Array.from({ length: 2 }, () => Float32Array.from({ length: 3 * inputWidth * inputHeight }, random));
  const each = async function* (): AsyncGenerator<Float32Array> {
    yield* pictures;
  };
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'goodparts-plan-'));
  const method = await methodFor(runtime, settings, each(), extractor);
  try {
    const stepMs = await stepTime(runtime, method, pictures);
    const file = path.join(folder, `${settings.method}.onnx`);
    await fs.writeFile(file, await method.network(method.task.parameters.initial(random), each()));
    const plan = await planNetwork(runtime, { network: file, inputWidth, inputHeight }, request);
    const { learned, heldOut } = divided(request.images);
    const epochs = settings.epochs || epochsFor(learned.length, method.length);
    // what is held out goes forward only, a quarter of a step
    const steps = epochs * (Math.ceil(learned.length / method.batch) + heldOut.length / method.batch / 4);
    const training = (steps * stepMs) / 1000;
    const { images, ...others } = plan.fitSeconds;
    const memory = memoryOf(settings);
    const refusal = refusedFor(memory, memoryRoom(maxMemory))?.message;
    return {
      ...plan,
      fitSeconds: { ...others, images, calibration: images, training, total: 2 * images + training },
      peakMemoryMb: memory,
      diskMb: plan.detectorMb + (request.images * 3 * inputWidth * inputHeight + 16 * method.task.parameters.size) / MB,
      ...(refusal && { refusal })
    };
  } finally {
    await method.release();
    await fs.rm(folder, { recursive: true, force: true });
  }
}

/** Milliseconds of a step, what it is fed included. */
async function stepTime(runtime: Runtime, method: Method, pictures: Float32Array[]): Promise<number> {
  const course = { rate: method.rate, epochs: STEPS, stepsPerEpoch: 1, patience: 0 };
  const trainer = await Trainer.create(runtime, method.task, course, freshState(method.task, randomStream(1)));
  try {
    const batch = Array.from({ length: method.batch }, (_, i) => pictures[i % pictures.length]);
    const learn = (): Promise<Feeds> => method.feeds(batch, true);
    const turns = new Turns();
    const step = turns.add(() => trainer.epoch(learn, [], async () => undefined));
    await turns.run();
    return step.mean;
  } finally {
    await trainer.release();
  }
}
