import type { Node, NodeAPI, NodeDef } from 'node-red';
import { Judge, ruleOf, type JudgeOptions, type JudgeRule } from '../../lib/red/judge';
import { modelIfAny, modelOf, optionalNumber } from '../../lib/red/nodes';

interface ThresholdConfig extends NodeDef {
  model: string;
  result: string;
  resultType: string;
  method: JudgeRule['method'];
  value: number | string;
  review: boolean;
  reviewValue: number | string;
  pixelMethod: 'detector' | JudgeRule['method'];
  pixelValue: number | string;
}

/** @throws GoodpartsError `fit-settings` when a limit's value does not suit its method */
function optionsOf(config: ThresholdConfig): JudgeOptions {
  const { method = 'percentile', pixelMethod = 'detector' } = config;
  const reviewMethod = method === 'own' ? 'percentile' : method;
  return {
    result: { value: config.result || 'payload', type: config.resultType || 'msg' },
    limit: ruleOf(method, optionalNumber(config.value ?? 99)),
    // a network brings one threshold along: what is to be reviewed is told by the good parts
    review: config.review ? ruleOf(reviewMethod, optionalNumber(config.reviewValue ?? 95)) : undefined,
    pixels: pixelMethod === 'detector' ? undefined : ruleOf(pixelMethod, optionalNumber(config.pixelValue))
  };
}

const needsModel = ({ limit, review, pixels }: JudgeOptions) =>
  [limit, review, pixels].some(rule => rule && rule.method !== 'fixed');

export = function register(RED: NodeAPI): void {
  function Threshold(this: Node, config: ThresholdConfig): void {
    RED.nodes.createNode(this, config);
    try {
      const options = optionsOf(config);
      const model = needsModel(options) ? modelOf(RED, this, config) : modelIfAny(RED, config);
      const judge = new Judge(RED, this, model, options);
      this.on('input', (msg, send, done) => judge.input(msg, send, done));
      this.on('close', () => judge.close());
    } catch (error) {
      this.status({ fill: 'red', shape: 'ring', text: RED._('status.error') });
      this.on('input', (_msg, _send, done) => done(error as Error));
    }
  }
  RED.nodes.registerType('threshold', Threshold);
};
