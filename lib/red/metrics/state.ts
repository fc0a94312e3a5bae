/** How Node-RED and its engines are at this moment, for Prometheus; `showState` puts in what `health` found. */
import { Counter, Gauge } from 'prom-client';
import type { Health } from '../health';
import { registry } from './counts';

const registers = [registry];
const gauge = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
  new Gauge({ name, help, labelNames, registers });
const counter = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
  new Counter({ name, help, labelNames, registers });

const depth = gauge('anomaly_queue_depth', 'Messages that wait in an anomaly-score node', 'node');
const bound = gauge('anomaly_queue_bound', 'Messages that may wait there before the policy acts', 'node');
const up = gauge('anomaly_engine_up', 'Whether the engine process of a device runs', 'device');
const device = gauge('anomaly_engine_device', '1 for what was asked for and what is used', 'wanted', 'used');
const memory = gauge('anomaly_engine_resident_memory_bytes', 'Memory of the engine process', 'device');
const cpu = counter('anomaly_engine_cpu_seconds_total', 'CPU time of the engine process', 'device');
const restarts = counter(
  'anomaly_engine_restarts_total',
  'Times that the engine process died and was restarted',
  'device'
);

export function showState({ queues, engines }: Health): void {
  for (const metric of [depth, bound, up, device, memory, cpu, restarts]) metric.reset();
  for (const { node, waiting, bound: most } of queues) {
    depth.inc({ node }, waiting);
    bound.inc({ node }, most);
  }
  for (const engine of engines) {
    const label = { device: engine.wanted };
    up.set(label, engine.state === 'ready' ? 1 : 0);
    restarts.inc(label, engine.restarts);
    if (engine.used) device.set({ wanted: engine.wanted, used: engine.used }, 1);
    if (!engine.usage) continue;
    memory.set(label, engine.usage.memoryBytes);
    cpu.inc(label, engine.usage.cpuSeconds);
  }
}
