/**
 * For `httpNodeMiddleware` in Node-RED's settings.js: refuses what is too large before it is read, as an http in node keeps a whole upload
 * in memory before any flow sees it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

type Response = ServerResponse & { sendStatus(status: number): unknown };
type Middleware = (request: IncomingMessage, response: Response, next: () => void) => void;

function refuse(response: ServerResponse, status: number, code: string, error: string): void {
  // what is still on its way is not read: the connection ends with the answer
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify({ error, code }));
}

/** @param megabytes the largest body of a request */
export function httpGuard({ megabytes = 64 } = {}): Middleware {
  return (request, response, next) => {
    const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
    if (Number(length ?? 0) > megabytes * 2 ** 20)
      return refuse(response, 413, 'image-too-large', `The request is larger than ${megabytes} MB.`);
    if (coding !== undefined)
      return refuse(response, 411, 'length-missing', 'Say how long the body is: send the header Content-Length.');
    // a body that cannot be read is the sender's mistake; Node-RED answers it with a bare 500
    response.sendStatus = () => refuse(response, 400, 'input-invalid', 'The body of the request cannot be read.');
    next();
  };
}
