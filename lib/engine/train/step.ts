import type { GraphBuilder } from '../onnx/builder';
import type { Parameters, Weights } from './parameters';
import { Tape, type Shape, type Value } from './tape';

/** A network with what it learns from. */
export interface Task {
  readonly parameters: Parameters;
  /** what one step is given beside the weights, with its shapes */
  readonly inputs: Record<string, Shape>;
  /** what the loss takes in of each weight's size: gradient + decay * weight */
  readonly decay: number;
  /** Writes the network and its loss, a scalar. */
  loss(tape: Tape, weights: Weights, inputs: Record<string, Value>): Value;
}

/** Decay of the two moments, and what keeps the division from zero. Source: Kingma & Ba, Adam (2015), their values. */
const [BETA1, BETA2, EPSILON] = [0.9, 0.999, 1e-8];

/**
 * One step of training as a single graph: forward, gradients and Adam.
 * Inputs: `weights`, `moment1`, `moment2` float32 [P]; `step` float32 [] = 1, 2, ...; `rate` float32 [], the learning rate; those of the
 * task. Outputs: `weights_next`, `moment1_next`, `moment2_next` float32 [P]; `loss` float32 [], before the step; `gradients` float32 [P]
 * where they are asked for.
 */
export function stepGraph(task: Task, withGradients = false): Uint8Array {
  const tape = new Tape();
  const { g } = tape;
  const { size } = task.parameters;
  const [weights, moment1, moment2] = ['weights', 'moment1', 'moment2'].map(name => g.input(name, 'float', [size]));
  const [step, rate] = ['step', 'rate'].map(name => g.input(name, 'float', []));
  const split = task.parameters.split(tape, weights);
  const loss = task.loss(tape, split, inputsOf(tape, task));
  tape.backward(loss);
  const gradients = task.parameters.gradients(tape, split);
  const derived = task.decay ? g.op('Add', [gradients, g.op('Mul', [weights, g.scalar(task.decay)])]) : gradients;
  const next = adam(g, { weights, moment1, moment2, gradients: derived, step, rate });
  for (const [name, tensor] of Object.entries(next)) g.output(tensor, `${name}_next`, 'float', [size]);
  g.output(loss.name, 'loss', 'float', []);
  if (withGradients) g.output(gradients, 'gradients', 'float', [size]);
  return g.build();
}

/** The loss alone, for pictures that are not learned from. Inputs: `weights`, those of the task. Output: `loss` float32 []. */
export function lossGraph(task: Task): Uint8Array {
  const tape = new Tape();
  const { g } = tape;
  const weights = task.parameters.split(tape, g.input('weights', 'float', [task.parameters.size]));
  g.output(task.loss(tape, weights, inputsOf(tape, task)).name, 'loss', 'float', []);
  return g.build();
}

const inputsOf = (tape: Tape, { inputs }: Task): Record<string, Value> =>
  Object.fromEntries(
    Object.entries(inputs).map(([name, shape]) => [name, tape.value(tape.g.input(name, 'float', [...shape]), shape)])
  );

type Names = Record<'weights' | 'moment1' | 'moment2' | 'gradients' | 'step' | 'rate', string>;

/**
 * w - rate * m / (sqrt(v) + epsilon), both moments freed from their start at zero. That correction is one factor each on the rate and on
 * epsilon, so that no vector has to be gone through for it.
 */
function adam(
  g: GraphBuilder,
  { weights, moment1, moment2, gradients, step, rate }: Names
): Record<'weights' | 'moment1' | 'moment2', string> {
  const mixed = (old: string, fresh: string, beta: number): string =>
    g.op('Add', [g.op('Mul', [old, g.scalar(beta)]), g.op('Mul', [fresh, g.scalar(1 - beta)])]);
  const seen = (beta: number): string => g.op('Sub', [g.scalar(1), g.op('Pow', [g.scalar(beta), step])]);
  const m = mixed(moment1, gradients, BETA1);
  const v = mixed(moment2, g.op('Mul', [gradients, gradients]), BETA2);
  const root = g.op('Sqrt', [seen(BETA2)]);
  const divisor = g.op('Add', [g.op('Sqrt', [v]), g.op('Mul', [root, g.scalar(EPSILON)])]);
  const factor = g.op('Mul', [rate, g.op('Div', [root, seen(BETA1)])]);
  const change = g.op('Mul', [g.op('Div', [m, divisor]), factor]);
  return { weights: g.op('Sub', [weights, change]), moment1: m, moment2: v };
}
