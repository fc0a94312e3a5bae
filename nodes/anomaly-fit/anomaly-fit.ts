import type { Node, NodeAPI } from 'node-red';
import { GoodpartsError } from '../../lib/engine/errors';
import { Fitter } from '../../lib/red/fitter';
import { modelOf, numberOf, propertiesOf, type UserConfig } from '../../lib/red/nodes';

interface FitConfig extends UserConfig {
  completeAfter: number | string;
  idleSeconds: number | string;
  progress: boolean;
}

export = function register(RED: NodeAPI): void {
  function AnomalyFit(this: Node, config: FitConfig): void {
    RED.nodes.createNode(this, config);
    const model = modelOf(RED, this, config);
    if (!model) {
      this.on('input', (_msg, _send, done) =>
        done(new GoodpartsError('input-missing', 'No anomaly-model is selected.'))
      );
      return;
    }
    const fitter = new Fitter(RED, this, model, {
      ...propertiesOf(config),
      completeAfter: numberOf(config.completeAfter, 0),
      idleSeconds: numberOf(config.idleSeconds, 0),
      progress: config.progress === true
    });
    this.on('input', (msg, send, done) => fitter.input(msg, send, done));
    this.on('close', (_removed: boolean, done: () => void) => void fitter.close().finally(done));
  }
  RED.nodes.registerType('anomaly-fit', AnomalyFit);
};
