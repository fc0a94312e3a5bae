/** The HTTP requests that flows answer, counted under the names that web frameworks use. */
import type { NodeAPI } from 'node-red';
import { Counter, Gauge, Histogram } from 'prom-client';
import { registry } from './counts';
import { bounded } from './labels';

type Handler = ReturnType<NodeAPI['auth']['needsPermission']>;
type Request = Parameters<Handler>[0] & { route?: { path: unknown } };

const registers = [registry];
const labelNames = ['method', 'handler', 'status'] as const;
const total = new Counter({ name: 'http_requests_total', help: 'HTTP requests answered', labelNames, registers });
const duration = new Histogram({
  name: 'http_request_duration_seconds',
  help: 'Time from the request to the end of its answer',
  labelNames,
  buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  registers
});
const running = new Gauge({
  name: 'http_requests_in_progress',
  help: 'HTTP requests that are not answered yet',
  labelNames: ['method'],
  registers
});

/** What a proxy calls a client that went away before its answer. */
const CLIENT_GONE = 499;

const handlerLabel = bounded();

/** The pattern of an HTTP In node, such as `/part/:id`; any address that no node answers is `other`, for scanners try thousands. */
function handlerOf({ baseUrl, route }: Request): string {
  return route ? handlerLabel(baseUrl + String(route.path)) : 'other';
}

/**
 * Counts a request, where `wanted` says so at its beginning. It has to be in front of the routes that it counts.
 * @param own paths that are not counted: those of the scraper itself
 */
export function countRequests(wanted: () => boolean, own: string[]): Handler {
  return (request: Request, response, next) => {
    if (!wanted() || own.includes(request.path)) return next();
    const { method } = request;
    const started = process.hrtime.bigint();
    running.inc({ method });
    response.once('close', () => {
      running.dec({ method });
      const status = response.writableFinished ? response.statusCode : CLIENT_GONE;
      const labels = { method, handler: handlerOf(request), status };
      total.inc(labels);
      duration.observe(labels, Number(process.hrtime.bigint() - started) / 1e9);
    });
    next();
  };
}
