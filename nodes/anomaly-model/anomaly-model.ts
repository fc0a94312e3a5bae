import type { NodeAPI } from 'node-red';
import { adminEndpoints } from '../../lib/red/admin';
import { metricsEndpoints } from '../../lib/red/metrics/endpoints';
import { Model, type ModelConfig } from '../../lib/red/model';
import type { ModelNode } from '../../lib/red/nodes';

export = function register(RED: NodeAPI): void {
  function AnomalyModel(this: ModelNode, config: ModelConfig): void {
    RED.nodes.createNode(this, config);
    const model = new Model(RED, config, text => this.warn(text));
    this.model = model;
    this.calibration = (name, version) => model.calibration(name, version);
    this.on('close', (_removed: boolean, done: () => void) => void model.close().finally(done));
  }
  RED.nodes.registerType('anomaly-model', AnomalyModel);
  adminEndpoints(RED);
  metricsEndpoints(RED);
};
