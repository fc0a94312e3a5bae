// Local servers that give a file as it should be given, or in one of the ways in which it goes wrong, and a proxy.
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import type { CatalogueEntry } from '../../lib/engine/catalogue';
import { ROOT } from '../support';

/** A real network: the embedded backbone, offered as if it were somebody else's. */
export const NETWORK = fs.readFileSync(path.join(ROOT, 'models/backbone.onnx'));
export const sumOf = (bytes: Uint8Array): string => crypto.createHash('sha256').update(bytes).digest('hex');

type Handler = (request: http.IncomingMessage, response: http.ServerResponse, nth: number) => void;

export interface Server {
  url: string;
  port: number;
  /** `METHOD path range` of every request so far */
  log: string[];
  /** bytes of bodies that were written */
  sent: () => number;
}

const open = new Set<() => void>();
/** Ends all servers, whatever is still connected to them. */
export const closeServers = (): void => open.forEach(close => close());

async function listen(server: http.Server | https.Server | net.Server): Promise<number> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket.on('error', () => {}).once('close', () => sockets.delete(socket)));
  });
  const close = () => {
    open.delete(close);
    sockets.forEach(socket => socket.destroy());
    server.close();
  };
  open.add(close);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as net.AddressInfo).port;
}

export async function serve(handler: Handler, secure?: { key: string; cert: string }): Promise<Server> {
  const log: string[] = [];
  let sent = 0;
  const listener = (request: http.IncomingMessage, response: http.ServerResponse) => {
    const { method, url, headers } = request;
    log.push([method, url, headers.range].filter(Boolean).join(' '));
    const write = response.write.bind(response);
    response.write = ((piece: Buffer) => {
      sent += piece.length;
      return write(piece);
    }) as typeof response.write;
    response.on('error', () => {});
    handler(request, response, log.length);
  };
  const server = secure ? https.createServer(secure, listener) : http.createServer(listener);
  const port = await listen(server);
  return { url: `${secure ? 'https' : 'http'}://127.0.0.1:${port}`, port, log, sent: () => sent };
}

export interface Given {
  /** stop after so many bytes of the body: break the connection, or just say nothing more */
  upTo?: number;
  then?: 'break' | 'stall';
  etag?: string;
  /** go on from any byte even where If-Range names another version */
  careless?: boolean;
  /** no ranges at all */
  whole?: boolean;
  /** milliseconds between pieces of 64 KiB */
  slow?: number;
}

/** Gives a file as a good server does, ranges included, up to the point where it stops being good. */
export function give(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  bytes: Buffer,
  { upTo = Infinity, then, etag, careless, whole, slow }: Given = {}
): void {
  const { range, 'if-range': only } = request.headers;
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
  const start = from > 0 && !whole && (careless || !only || only === etag) ? from : 0;
  if (start >= bytes.length) {
    response.writeHead(416, { 'Content-Range': `bytes */${bytes.length}` }).end();
    return;
  }
  const part = start > 0 ? { 'Content-Range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {};
  response.writeHead(start > 0 ? 206 : 200, {
    ...part,
    ...(etag && { ETag: etag }),
    'Content-Type': 'application/octet-stream',
    'Content-Length': bytes.length - start
  });
  const end = Math.min(bytes.length, start + upTo);
  const next = (at: number): void => {
    if (at < end) {
      response.write(bytes.subarray(at, Math.min(end, at + 65_536)));
      if (slow) setTimeout(next, slow, at + 65_536);
      else setImmediate(next, at + 65_536);
    } else if (then === 'break')
      response.socket?.end(); // once all that was written is out
    else if (then !== 'stall') response.end();
  };
  next(start);
}

export interface Proxy {
  url: string;
  host: string;
  log: string[];
}

/** A proxy that hands on; with a login only to those who know it. */
export async function proxy(login?: string): Promise<Proxy> {
  const log: string[] = [];
  const wanted = login && `Basic ${Buffer.from(login).toString('base64')}`;
  const knows = ({ headers }: http.IncomingMessage) => !wanted || headers['proxy-authorization'] === wanted;
  const server = http.createServer((request, response) => {
    log.push(`${request.method} ${request.url}`);
    if (!knows(request)) return void response.writeHead(407).end();
    const onward = http.get(request.url!, { headers: request.headers }, answer => {
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    return void onward.on('error', () => response.destroy());
  });
  server.on('connect', (request: http.IncomingMessage, socket: net.Socket, head: Buffer) => {
    log.push(`CONNECT ${request.url}`);
    if (!knows(request)) return socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
    const [host, port] = request.url!.split(':');
    const onward = net.connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.write(head);
      onward.pipe(socket).pipe(onward);
    });
    onward.on('error', () => socket.destroy());
    return socket.on('error', () => onward.destroy());
  });
  const port = await listen(server);
  return { url: `http://${login ? `${login}@` : ''}127.0.0.1:${port}`, host: `127.0.0.1:${port}`, log };
}

/** Answers every connection with these bytes, right or wrong, and closes it. */
export async function raw(text: string, body: Buffer): Promise<string> {
  const server = net.createServer(socket => {
    socket.once('data', () => socket.end(Buffer.concat([Buffer.from(text.replaceAll('\n', '\r\n')), body])));
  });
  return `http://127.0.0.1:${await listen(server)}`;
}

/** A catalogue entry of the real network; its first address is `urls[0]`. */
export function entry(urls: string[], more: Partial<CatalogueEntry> = {}): CatalogueEntry {
  const [url, ...mirrors] = urls;
  return {
    id: 'net.v1',
    url,
    mirrors,
    sha256: sumOf(NETWORK),
    bytes: NETWORK.length,
    licence: 'Apache-2.0',
    caveat: 'none',
    input: { name: 'image' },
    mean: [0, 0, 0],
    std: [1, 1, 1],
    taps: ['layer2', 'layer3'],
    ...more
  };
}
