/** For Node-RED's settings.js: what comes in by HTTP and cannot be used is refused before a flow sees it, in words. */
import type { IncomingMessage, ServerResponse } from 'node:http';

type Response = ServerResponse & { sendStatus(status: number): unknown };
type Next = (error?: unknown) => void;
type Middleware<R = IncomingMessage> = (request: R, response: Response, next: Next) => void;

interface AppRequest extends IncomingMessage {
  /** Express' application that handles the request */
  app: { use(handler: (error: BodyError, request: IncomingMessage, response: Response, next: Next) => void): void };
}

/** What Express' readers of bodies throw. */
interface BodyError {
  status?: number;
}

function refuse(response: ServerResponse, status: number, code: string, error: string): void {
  // what is still on its way is not read: the connection ends with the answer
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify({ error, code }));
}

const unread = 'The body of the request cannot be read.';

/**
 * For `httpNodeMiddleware`: refuses what is too large before it is read, as an http in node keeps a whole upload in memory.
 * @param megabytes the largest body of a request
 */
export function httpGuard({ megabytes = 64 } = {}): Middleware {
  return (request, response, next) => {
    const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
    if (Number(length ?? 0) > megabytes * 2 ** 20)
      return refuse(response, 413, 'image-too-large', `The request is larger than ${megabytes} MB.`);
    if (coding !== undefined)
      return refuse(response, 411, 'length-missing', 'Say how long the body is: send the header Content-Length.');
    // a body that cannot be read is the sender's mistake; Node-RED answers it with a bare 500
    response.sendStatus = () => refuse(response, 400, 'input-invalid', unread);
    next();
  };
}

/**
 * For `httpAdminMiddleware`: where the editor has the address `/`, it reads JSON and forms of all requests, also of those to flows, before
 * `httpNodeMiddleware`; what it cannot read Express answers with a page, and a stack trace unless NODE_ENV is production.
 */
export function bodyGuard(): Middleware<AppRequest> {
  const guarded = new WeakSet<object>();
  return ({ app }, _response, next) => {
    // errors go to what was added after the readers; there is no other place to add it
    if (!guarded.has(app)) app.use(refuseUnread);
    guarded.add(app);
    next();
  };
}

function refuseUnread(error: BodyError, _request: IncomingMessage, response: Response, next: Next): void {
  const { status = 500 } = error;
  if (status < 400 || status >= 500 || response.headersSent) return next(error);
  const large = 'The body of the request is larger than Node-RED reads (apiMaxLength in settings.js).';
  if (status === 413) refuse(response, 413, 'image-too-large', large);
  else refuse(response, 400, 'input-invalid', unread);
}
