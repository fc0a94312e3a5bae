import type { Node, NodeAPI } from 'node-red';
import { GoodpartsError } from '../../lib/engine/errors';
import type { Policy } from '../../lib/host/queue';
import { modelOf, numberOf, propertiesOf, type UserConfig } from '../../lib/red/nodes';
import { Scorer } from '../../lib/red/scorer';

interface ScoreConfig extends UserConfig {
  queue: number | string;
  policy: Policy;
  batch: number | string;
  map: boolean;
  deadline?: number | string;
}

export = function register(RED: NodeAPI): void {
  function AnomalyScore(this: Node, config: ScoreConfig): void {
    RED.nodes.createNode(this, config);
    const model = modelOf(RED, this, config);
    if (!model) {
      this.on('input', (_msg, _send, done) =>
        done(new GoodpartsError('input-missing', 'No anomaly-model is selected.'))
      );
      return;
    }
    const scorer = new Scorer(RED, this, model, {
      ...propertiesOf(config),
      queue: Math.max(1, numberOf(config.queue, 100)),
      policy: config.policy || 'wait',
      batch: Math.max(1, numberOf(config.batch, 8)),
      map: config.map !== false,
      deadline: Math.max(0, numberOf(config.deadline, 0))
    });
    this.on('input', (msg, send, done) => scorer.input(msg, send, done));
    this.on('close', () => scorer.close());
  }
  RED.nodes.registerType('anomaly-score', AnomalyScore);
};
