import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import { GoodpartsError } from '../engine/errors';
import { Environment, hostOf, portOf, proxyFor, proxyHeaders } from './proxy';

/**
 * GET with redirects, and through a proxy where the environment names one. Node's own fetch does that only from version 24 on, and
 * undici would be a dependency for what are two requests: CONNECT, then the GET inside the tunnel.
 */

/** A download that failed; `again`: the same address may well work on another try. */
export class DownloadError extends GoodpartsError {
  constructor(
    message: string,
    readonly again: boolean
  ) {
    super('backbone-download', message);
  }
}

export interface GetOptions {
  headers: http.OutgoingHttpHeaders;
  signal?: AbortSignal;
  /** milliseconds until the head of the answer must be there */
  patience: number;
  env: Environment;
}

const MOST_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** The answer at the end of the redirects, whatever its status; its body is still to be read, or destroyed. */
export async function get(address: string, options: GetOptions): Promise<http.IncomingMessage> {
  let url = new URL(address);
  for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
    const answer = await getOnce(url, options);
    if (!REDIRECTS.has(answer.statusCode ?? 0)) return answer;
    answer.destroy();
    url = redirected(url, answer.headers.location);
  }
  throw new DownloadError(`${hostOf(url)} redirects in circles.`, false);
}

function redirected(from: URL, location: string | undefined): URL {
  let to: URL;
  try {
    to = new URL(location ?? '', from);
  } catch {
    throw new DownloadError(`${hostOf(from)} redirects to "${location}", which is no address.`, false);
  }
  if (!location || !/^https?:$/.test(to.protocol))
    throw new DownloadError(`${hostOf(from)} redirects to nowhere.`, false);
  if (from.protocol === 'https:' && to.protocol !== 'https:')
    throw new DownloadError(`${hostOf(from)} redirects from https to ${to.protocol}//, which is not safe.`, false);
  return to;
}

async function getOnce(url: URL, options: GetOptions): Promise<http.IncomingMessage> {
  const proxy = proxyFor(url, options.env);
  const what = proxy ? `${hostOf(url)} through the proxy ${proxy.host}` : hostOf(url);
  return within(options, what, async signal => {
    if (!proxy) return send(url, { headers: options.headers, signal });
    if (url.protocol === 'https:') {
      const socket = await tunnel(proxy, url, signal);
      return send(url, { headers: options.headers, signal, createConnection: () => secured(socket, url) });
    }
    const headers = { ...options.headers, ...proxyHeaders(proxy), Host: url.host };
    const answer = await send(proxy, { headers, signal, path: url.href });
    if (answer.statusCode === 407) throw refusedBy(proxy, 407);
    return answer;
  });
}

/** A request that answers in time or fails with a sentence. */
async function within<T extends { destroy(): unknown }>(
  { patience, signal }: GetOptions,
  what: string,
  request: (signal: AbortSignal) => Promise<T>
): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), patience);
  const abort = () => late.abort();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    signal?.throwIfAborted();
    return await request(late.signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof GoodpartsError) throw error;
    if (late.signal.aborted) throw new DownloadError(`${what} did not answer for ${patience / 1000} s.`, true);
    const reason = reasonOf(error as NodeJS.ErrnoException);
    throw new DownloadError(`${what} cannot be reached: ${reason}.`, mayPass(error as NodeJS.ErrnoException));
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

const CERTIFICATE = 'its certificate is not trusted here (NODE_EXTRA_CA_CERTS can name the one of your network)';
const REASONS: Record<string, string> = {
  ENOTFOUND: 'its name is not known here',
  EAI_AGAIN: 'its name is not known here',
  ECONNREFUSED: 'the connection is refused',
  ECONNRESET: 'the connection was broken off',
  ENETUNREACH: 'there is no way to it',
  EHOSTUNREACH: 'there is no way to it',
  ETIMEDOUT: 'it does not answer',
  SELF_SIGNED_CERT_IN_CHAIN: CERTIFICATE,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: CERTIFICATE,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: CERTIFICATE,
  DEPTH_ZERO_SELF_SIGNED_CERT: CERTIFICATE
};

export const reasonOf = ({ code, message }: NodeJS.ErrnoException): string => REASONS[code ?? ''] ?? message;

/** A name that does not exist and a stranger's certificate stay what they are; somebody in a plant must not wait for that. */
const mayPass = ({ code }: NodeJS.ErrnoException): boolean =>
  code !== 'ENOTFOUND' && !/CERT|SIGNATURE|ERR_TLS/.test(code ?? '');

/** The body is not read before the caller does, so nothing of it is lost. */
function send(url: URL, options: https.RequestOptions): Promise<http.IncomingMessage> {
  const { request } = url.protocol === 'https:' ? https : http;
  const agent = options.createConnection ? undefined : false;
  return new Promise((resolve, reject) => {
    request(url, { ...options, signal: undefined, agent }, resolve)
      .on('error', reject)
      .once('close', () => reject(new Error('the connection was closed')))
      .on('socket', socket => abortable(socket, options.signal))
      .end();
  });
}

/** The signal only counts until the answer is there; afterwards the reader of the body decides. */
function abortable(socket: Socket, signal?: AbortSignal): void {
  const end = () => socket.destroy(new Error('aborted'));
  if (signal?.aborted) end();
  else signal?.addEventListener('abort', end, { once: true });
}

/** A connection to the target that the proxy hands through. */
function tunnel(proxy: URL, target: URL, signal: AbortSignal): Promise<Socket> {
  const { request } = proxy.protocol === 'https:' ? https : http;
  const host = `${target.hostname}:${portOf(target)}`;
  const headers = { Host: host, ...proxyHeaders(proxy) };
  return new Promise((resolve, reject) => {
    request({ host: hostOf(proxy), port: portOf(proxy), method: 'CONNECT', path: host, headers, signal, agent: false })
      .on('error', reject)
      .once('connect', ({ statusCode }, socket) => {
        if (statusCode === 200) return resolve(socket as Socket);
        socket.destroy();
        return reject(refusedBy(proxy, statusCode));
      })
      .once('response', ({ statusCode }) => reject(refusedBy(proxy, statusCode)))
      .end();
  });
}

function secured(socket: Socket, url: URL): tls.TLSSocket {
  const host = hostOf(url);
  return tls.connect({ socket, host, servername: net.isIP(host) ? undefined : host });
}

function refusedBy(proxy: URL, status?: number): DownloadError {
  if (status === 407)
    return new DownloadError(
      `The proxy ${proxy.host} wants a name and a password: set the environment variable HTTPS_PROXY to http://name:password@host:port.`,
      false
    );
  return new DownloadError(`The proxy ${proxy.host} refuses the connection (${status}).`, (status ?? 0) >= 500);
}
