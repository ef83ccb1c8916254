/** Multiaddrs over TCP (libp2p/specs addressing/README.md, websockets/README.md). */

import { isIPv6 } from 'node:net';
import { type Component, type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import { LeanError } from '../errors.ts';

export interface TcpAddress {
  /** IP literal, an IPv6 one with its zone if it has one, or a DNS name. */
  readonly host: string;
  /** 4 or 6 where the address says which; 0 for `/dns`. */
  readonly family: 0 | 4 | 6;
  readonly port: number;
  readonly kind: 'tcp' | 'ws' | 'wss';
  /** wss: the name in `/tls/sni/<name>`. */
  readonly sni: string | undefined;
  /** ws and wss: the request's path, `/` or that of `/http-path`. */
  readonly path: string;
}

const FAMILIES: Readonly<Record<string, 0 | 4 | 6>> = { ip4: 4, ip6: 6, dns: 0, dns4: 4, dns6: 6 };

/**
 * What `address`, with or without `/p2p`, says; `undefined` when it is not one of
 * `/tcp/N`, `/tcp/N/ws`, `/tcp/N/tls/ws` and `/tcp/N/wss` after an IP address or DNS name.
 */
export const parseTcpAddress = (address: Multiaddr): TcpAddress | undefined => {
  const rest: Component[] = [...address.getComponents()];
  const take = (name: string): string | undefined => {
    if (rest[0]?.name !== name) return undefined;
    return rest.shift()?.value ?? '';
  };
  const zone = take('ip6zone');
  const host = rest.shift();
  const family = FAMILIES[host?.name ?? ''];
  if (host?.value === undefined || family === undefined) return undefined;
  const port = take('tcp');
  if (port === undefined) return undefined;
  let kind: TcpAddress['kind'] = 'tcp';
  let sni: string | undefined;
  let path = '/';
  if (take('tls') !== undefined) {
    sni = take('sni');
    if (take('ws') === undefined) return undefined;
    kind = 'wss';
  } else if (take('ws') !== undefined) {
    kind = 'ws';
  } else if (take('wss') !== undefined) {
    kind = 'wss';
  }
  if (kind !== 'tcp') {
    const httpPath = take('http-path');
    if (httpPath !== undefined) path = `/${decodePath(httpPath)}`;
  }
  take('p2p');
  if (rest.length > 0) return undefined;
  const literal = zone === undefined ? host.value : `${host.value}%${zone}`;
  return { host: literal, family, port: Number(port), kind, sni, path };
};

const decodePath = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** As {@link parseTcpAddress}. @throws ERR_ADDRESS when it is not one of these `kinds`. */
export const requireTcpAddress = (
  address: Multiaddr,
  kinds: readonly TcpAddress['kind'][],
): TcpAddress => {
  const parsed = parseTcpAddress(address);
  if (parsed !== undefined && kinds.includes(parsed.kind)) return parsed;
  throw new LeanError('ERR_ADDRESS', `${address} is not a ${kinds.join(' or ')} address`);
};

/**
 * The multiaddr of one end of a socket.
 *
 * @param suffix what follows `/tcp/N`, for instance `/ws`.
 */
export const tcpMultiaddr = (ip: string, port: number, suffix = ''): Multiaddr => {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1];
  if (mapped !== undefined) return multiaddr(`/ip4/${mapped}/tcp/${port}${suffix}`);
  const [literal = ip, zone] = ip.split('%');
  const prefix = zone === undefined ? '' : `/ip6zone/${zone}`;
  return multiaddr(`${prefix}/${isIPv6(literal) ? 'ip6' : 'ip4'}/${literal}/tcp/${port}${suffix}`);
};
