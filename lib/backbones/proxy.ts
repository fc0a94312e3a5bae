import net from 'node:net';
import { GoodpartsError } from '../engine/errors';

export type Environment = Record<string, string | undefined>;

const PORTS: Record<string, string> = { 'http:': '80', 'https:': '443' };
export const portOf = (url: URL): string => url.port || PORTS[url.protocol];
/** Without the brackets that an IPv6 address has in a URL. */
export const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, '');

/**
 * The proxy for a request, as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say it (the lower-case name wins, as with curl);
 * undefined: none.
 * @throws GoodpartsError `backbone-download` where the setting is no address of an HTTP proxy
 */
export function proxyFor(url: URL, env: Environment): URL | undefined {
  const scheme = url.protocol.slice(0, -1);
  const names = [`${scheme}_proxy`, `${scheme}_proxy`.toUpperCase(), 'all_proxy', 'ALL_PROXY'];
  const name = names.find(one => env[one]?.trim());
  if (!name || isExempt(url, env.no_proxy?.trim() || env.NO_PROXY || '')) return undefined;
  const text = env[name]!.trim();
  const proxy = parsed(/^[a-z][\w+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  if (proxy && /^https?:$/.test(proxy.protocol)) return proxy;
  throw new GoodpartsError(
    'backbone-download',
    `The environment variable ${name} names no proxy that can be used: it has to be http://host:port or https://host:port.`
  );
}

function parsed(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}

/** `*`, hosts and domains (with or without a leading dot or `*.`, with or without a port), addresses, networks as 10.0.0.0/8. */
function isExempt(url: URL, list: string): boolean {
  const host = hostOf(url).toLowerCase();
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .filter(Boolean)
    .some(entry => entry === '*' || isInNetwork(host, entry) || isInDomain(host, portOf(url), entry));
}

function isInDomain(host: string, port: string, entry: string): boolean {
  const [, name, wanted] = /^(?:\*?\.)?\[?(.*?)\]?(?::(\d+))?$/.exec(net.isIPv6(entry) ? `[${entry}]` : entry)!;
  if (wanted && wanted !== port) return false;
  return name !== '' && (host === name || (!net.isIP(host) && host.endsWith(`.${name}`)));
}

function isInNetwork(host: string, entry: string): boolean {
  const [address, bits] = entry.split('/');
  const family = net.isIP(address);
  if (!bits || !family || family !== net.isIP(host) || !(Number(bits) <= (family === 4 ? 32 : 128))) return false;
  const networks = new net.BlockList();
  const type = family === 4 ? 'ipv4' : 'ipv6';
  networks.addSubnet(address, Number(bits), type);
  return networks.check(host, type);
}

/** The header that a proxy with a name and password wants. */
export function proxyHeaders({ username, password }: URL): Record<string, string> {
  if (!username) return {};
  const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { 'Proxy-Authorization': `Basic ${Buffer.from(login).toString('base64')}` };
}
