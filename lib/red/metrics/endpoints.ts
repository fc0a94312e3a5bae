/** What a monitoring system asks of Node-RED: `GET /anomaly/metrics` for Prometheus and `GET /anomaly/health` as JSON. */
import type { NodeAPI } from 'node-red';
import { collectDefaultMetrics } from 'prom-client';
import { health } from '../health';
import { models } from '../live';
import { registry } from './counts';
import { countRequests } from './http';
import { showState } from './state';

type Handler = ReturnType<NodeAPI['auth']['needsPermission']>;

const METRICS = '/anomaly/metrics';
const HEALTH = '/anomaly/health';

/** Some model that is deployed now allows it. */
const exposed = () => [...models].some(model => model.exposed);

let collecting = false;

/** CPU, memory and event loop of Node-RED itself; what watches them is started when somebody asks for the first time. */
function collectProcess(): void {
  if (collecting) return;
  collecting = true;
  collectDefaultMetrics({ register: registry });
}

/** What guards the flows' HTTP In nodes guards this, too; httpNodeAuth stands before all of httpNode anyway. */
function guards(RED: NodeAPI): Handler[] {
  const { httpNodeMiddleware } = RED.settings as { httpNodeMiddleware?: Handler | Handler[] };
  return [httpNodeMiddleware ?? []].flat();
}

const answer =
  (give: (response: Parameters<Handler>[1]) => Promise<void>): Handler =>
  (_request, response, next) => {
    // as if it were not there: routes cannot be taken out of httpNode again when the last such model goes
    if (exposed()) give(response).catch(next);
    else next();
  };

/** Once for each Node-RED, when its nodes are registered: before the flows' own routes, whose requests are counted. */
export function metricsEndpoints(RED: NodeAPI): void {
  const { httpNode } = RED as { httpNode?: NodeAPI['httpNode'] };
  // httpNodeRoot: false
  if (!httpNode) return;
  httpNode.use(countRequests(exposed, [METRICS, HEALTH]));
  httpNode.get(
    METRICS,
    ...guards(RED),
    answer(async response => {
      collectProcess();
      showState(await health());
      response.type(registry.contentType).send(await registry.metrics());
    })
  );
  httpNode.get(
    HEALTH,
    ...guards(RED),
    answer(async response => void response.json(await health()))
  );
}
