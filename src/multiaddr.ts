/**
 * Multiaddrs (multiformats/multiaddr) as this project uses them: which transport an address is for,
 * its host and port, names resolved, unspecified hosts replaced.
 */

import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import {
  CODE_DNS,
  CODE_DNS4,
  CODE_DNS6,
  CODE_DNSADDR,
  CODE_IP4,
  CODE_IP6,
  CODE_P2P,
  CODE_P2P_CIRCUIT,
  CODE_QUIC_V1,
  CODE_SNI,
  CODE_TCP,
  CODE_TLS,
  CODE_UDP,
  CODE_WS,
  CODE_WSS,
  type Component,
  isMultiaddr,
  type Multiaddr,
  multiaddr,
  registry,
  V,
} from '@multiformats/multiaddr';
import { withDeadline } from './deadline.ts';
import { LeanError, messageOf } from './errors.ts';
import { type PeerId, parsePeerId, peerIdFromMultihash } from './identity/peer-id.ts';
import { quote } from './printable.ts';
import { plainHost, type SocketAddress } from './socket-address.ts';

/** The transports whose addresses are recognised, by the names that the interop matrices use. */
export type AddressKind = 'quic-v1' | 'tcp' | 'ws' | 'wss';

/** The longest text and encoding accepted: a p2p address with a DNS name stays below it. */
const MAX_LENGTH = 1024;

/** @throws ERR_ADDRESS when `address` is not a multiaddr. */
export const parseMultiaddr = (address: Multiaddr | string): Multiaddr => {
  if (isMultiaddr(address)) return address;
  if (address.length > MAX_LENGTH) throw notAnAddress(quote(address, 64), 'too long');
  try {
    const parsed = multiaddr(address);
    if (parsed.getComponents().length === 0) throw new Error('empty');
    // Some values are only checked when encoded. That is slow for a peer id, so skipped for our own transports.
    if (kindOf(parsed) === undefined) parsed.bytes;
    return parsed;
  } catch (cause) {
    throw notAnAddress(quote(address, MAX_LENGTH), messageOf(cause), cause);
  }
};

/**
 * The multiaddr of the binary form, which must be the shortest one, and whose peer ids must be some: `peerOf` does not
 * throw. The bytes are copied.
 *
 * @throws ERR_ADDRESS
 */
export const decodeMultiaddr = (bytes: Uint8Array): Multiaddr => {
  let text = 'bytes';
  try {
    if (bytes.length > MAX_LENGTH) throw new Error('too long');
    const copy = Uint8Array.from(bytes); // the parser may read beyond a truncated value
    checkPeerIds(copy);
    text = multiaddr(copy).toString();
    const parsed = multiaddr(text);
    if (Buffer.compare(parsed.bytes, copy) !== 0) throw new Error('truncated or not minimal');
    return parsed;
  } catch (cause) {
    throw notAnAddress(text, messageOf(cause), cause);
  }
};

/**
 * Looks at the peer ids before they become text, which takes time that grows with the square of their length: 10 ms for
 * 1 KB, of which a peer may send many. The library takes any bytes for a peer id.
 */
const checkPeerIds = (bytes: Uint8Array): void => {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const { code, size = 0 } = registry.getProtocol(reader.uint32());
    if (size !== V) reader.pos += size / 8;
    else {
      const value = reader.bytes();
      if (code === CODE_P2P) peerIdFromMultihash(value);
    }
  }
};

/** `undefined` when no transport of this project takes `address`. A `/p2p` at the end is allowed. */
export const kindOf = (address: Multiaddr): AddressKind | undefined => {
  const [host, port, ...rest] = address.getComponents();
  if (host === undefined || !HOST_CODES.has(host.code)) return undefined;
  if (rest.at(-1)?.code === CODE_P2P) rest.pop();
  const above = rest.map(({ code }) => code);
  if (port?.code === CODE_UDP) return isExactly(above, CODE_QUIC_V1) ? 'quic-v1' : undefined;
  if (port?.code !== CODE_TCP) return undefined;
  if (above.length === 0) return 'tcp';
  if (isExactly(above, CODE_WS)) return 'ws';
  const secure =
    isExactly(above, CODE_WSS) ||
    isExactly(above, CODE_TLS, CODE_WS) ||
    isExactly(above, CODE_TLS, CODE_SNI, CODE_WS);
  return secure ? 'wss' : undefined;
};

const HOST_CODES: ReadonlySet<number> = new Set([
  CODE_IP4,
  CODE_IP6,
  CODE_DNS,
  CODE_DNS4,
  CODE_DNS6,
]);

const isExactly = (codes: readonly number[], ...wanted: readonly number[]): boolean =>
  codes.length === wanted.length && codes.every((code, i) => code === wanted[i]);

/** The host and port of an address. */
export interface Host {
  /** An IP literal without brackets, or a name. */
  readonly host: string;
  readonly port: number;
  /** Whether `host` still has to be resolved, and to what. */
  readonly name: 'dns' | 'dns4' | 'dns6' | undefined;
}

/** @throws ERR_ADDRESS when `address` does not start with a host and a TCP or UDP port. */
export const hostOf = (address: Multiaddr): Host => {
  const [host, port] = address.getComponents();
  const isPort = port?.code === CODE_TCP || port?.code === CODE_UDP;
  if (host?.value === undefined || !HOST_CODES.has(host.code) || !isPort) {
    throw notAnAddress(address.toString(), 'it has no host and port');
  }
  const name = host.name === 'ip4' || host.name === 'ip6' ? undefined : host.name;
  return { host: host.value, port: Number(port.value), name: name as Host['name'] };
};

/**
 * The IP address that `address` starts with, as of `plainHost`; of a relayed one, the relay's. `undefined` where
 * there is a name in its place, or no host at all, as with other people's transports.
 */
export const ipOf = (address: Multiaddr): string | undefined => {
  const [host] = address.getComponents();
  const isIp = host?.code === CODE_IP4 || host?.code === CODE_IP6;
  return isIp && host.value !== undefined ? plainHost(host.value) : undefined;
};

/** @throws ERR_ADDRESS as {@link hostOf}, and when the host is a name. */
export const socketAddressOf = (address: Multiaddr): SocketAddress => {
  const { host, port, name } = hostOf(address);
  if (name !== undefined) throw notAnAddress(address.toString(), 'its host is not an IP address');
  return { host, port };
};

/** `/ip4|ip6/<host>/udp|tcp/<port>…` of an address. IPv4-mapped IPv6 hosts become IPv4. */
export const multiaddrOf = (kind: AddressKind, { host, port }: SocketAddress): Multiaddr => {
  const ip = plainHost(host);
  const components: Component[] = [
    isIPv4(ip)
      ? { code: CODE_IP4, name: 'ip4', value: ip }
      : { code: CODE_IP6, name: 'ip6', value: ip },
    kind === 'quic-v1'
      ? { code: CODE_UDP, name: 'udp', value: String(port) }
      : { code: CODE_TCP, name: 'tcp', value: String(port) },
  ];
  if (kind === 'quic-v1') components.push({ code: CODE_QUIC_V1, name: 'quic-v1' });
  else if (kind === 'ws') components.push({ code: CODE_WS, name: 'ws' });
  else if (kind === 'wss') {
    components.push({ code: CODE_TLS, name: 'tls' }, { code: CODE_WS, name: 'ws' });
  }
  return multiaddr(components);
};

/** Cached: a dial asks three times, and decoding base58 is slow. */
const peers = new WeakMap<Multiaddr, PeerId>();

/** The peer that `address` names at its end. @throws ERR_ADDRESS when its peer id is malformed. */
export const peerOf = (address: Multiaddr): PeerId | undefined => {
  const known = peers.get(address);
  if (known !== undefined) return known;
  const last = address.getComponents().at(-1);
  if (last?.code !== CODE_P2P || last.value === undefined) return undefined;
  try {
    const peer = parsePeerId(last.value);
    peers.set(address, peer);
    return peer;
  } catch (cause) {
    throw notAnAddress(address.toString(), messageOf(cause), cause);
  }
};

/** @throws ERR_ADDRESS when `address` cannot be dialled: port 0, a malformed peer id, a circuit without a relay. */
export const checkDialable = (address: Multiaddr): void => {
  peerOf(address);
  if (isCircuit(address)) relayOf(address);
  const port = address.getComponents()[1];
  const isPort = port?.code === CODE_TCP || port?.code === CODE_UDP;
  if (isPort && Number(port.value) === 0) {
    throw notAnAddress(address.toString(), 'nobody listens on port 0');
  }
};

export const withPeer = (address: Multiaddr, peer: PeerId): Multiaddr =>
  multiaddr([
    ...withoutPeer(address).getComponents(),
    { code: CODE_P2P, name: 'p2p', value: peer.toString() },
  ]);

export const withoutPeer = (address: Multiaddr): Multiaddr => {
  const components = address.getComponents();
  return components.at(-1)?.code === CODE_P2P ? multiaddr(components.slice(0, -1)) : address;
};

/** Whether `address` leads through a relay. */
export const isCircuit = (address: Multiaddr): boolean =>
  address.getComponents().some(({ code }) => code === CODE_P2P_CIRCUIT);

/** `<relay>/p2p-circuit`. @param relay with `/p2p/<relay>`. */
export const circuitOf = (relay: Multiaddr): Multiaddr =>
  multiaddr([...relay.getComponents(), { code: CODE_P2P_CIRCUIT, name: 'p2p-circuit' }]);

/**
 * The relay's address in `<relay>/p2p/<relay's id>/p2p-circuit[/p2p/<peer>]`, with its id.
 *
 * @throws ERR_ADDRESS for other addresses: without a relay, with two, or with further components.
 */
export const relayOf = (address: Multiaddr): Multiaddr => {
  const components = withoutPeer(address).getComponents();
  const last = components.at(-1);
  const relay = components.slice(0, -1);
  if (last?.code !== CODE_P2P_CIRCUIT || relay.some(({ code }) => code === CODE_P2P_CIRCUIT)) {
    throw notAnAddress(address.toString(), 'it is not <relay>/p2p-circuit/p2p/<peer>');
  }
  if (relay.length < 2 || relay.at(-1)?.code !== CODE_P2P) {
    throw notAnAddress(
      address.toString(),
      'it does not say which relay: …/p2p/<relay>/p2p-circuit',
    );
  }
  return multiaddr(relay);
};

/**
 * The addresses to publish for a bound one: itself, or, where its host is unspecified (`0.0.0.0`,
 * `::`), one for every address of this machine's interfaces, those that other machines can reach
 * first and loopback last. Link-local addresses are left out: they need a zone.
 * A socket on `::` is taken to be reachable over IPv6 only.
 */
export const reachableAddresses = (address: Multiaddr): Multiaddr[] => {
  const [host, ...rest] = address.getComponents();
  if (host?.value !== '0.0.0.0' && host?.value !== '::') return [address];
  const family = host.code === CODE_IP4 ? 'IPv4' : 'IPv6';
  const interfaces = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const found = interfaces
    .filter((it) => it.family === family && !isLinkLocal(it.address))
    .sort((a, b) => Number(a.internal) - Number(b.internal))
    .map((it) => multiaddr([{ code: host.code, name: host.name, value: it.address }, ...rest]));
  return found.length > 0 ? found : [address];
};

const isLinkLocal = (ip: string): boolean => /^(fe[89ab]|169\.254\.)/i.test(ip);

export interface ResolveOptions {
  /** Milliseconds for each look-up. */
  readonly timeout?: number;
  /** Name servers for `/dnsaddr`, `<ip>[:<port>]`; default: the system's. */
  readonly servers?: readonly string[];
}

const RESOLVE_TIMEOUT = 5_000;
/** Limits of what a name may resolve to. */
const MAX_RESOLVED = 32;
const MAX_DNSADDR_DEPTH = 4;

/**
 * `address` with its name resolved: `/dns`, `/dns4` and `/dns6` by the system (so that /etc/hosts and
 * container names work) to `/ip4` and `/ip6`, in the system's order; `/dnsaddr` by its TXT records to
 * the addresses with the same suffix. Names of WebSocket addresses stay: their server needs them. An
 * address without a name is returned as it is.
 *
 * @returns 1 to 32 addresses.
 * @throws ERR_ADDRESS when the name has none; ERR_TIMEOUT.
 */
export const resolveMultiaddr = async (
  address: Multiaddr,
  options: ResolveOptions = {},
): Promise<Multiaddr[]> => {
  let level = [address];
  for (let depth = 0; level.some(isDnsaddr); depth++) {
    if (depth === MAX_DNSADDR_DEPTH)
      throw notAnAddress(address.toString(), 'its name nests too deep');
    level = await flatten(level, (it) => (isDnsaddr(it) ? readDnsaddr(it, options) : [it]));
  }
  const found = await flatten(level, (it) => resolveHost(it, options));
  if (found.length === 0) throw notAnAddress(address.toString(), 'its name has no address');
  return found;
};

/** The first 32 results. Look-ups that fail are left out unless all do. */
const flatten = async (
  addresses: readonly Multiaddr[],
  resolve: (address: Multiaddr) => Multiaddr[] | Promise<Multiaddr[]>,
): Promise<Multiaddr[]> => {
  const results = await Promise.allSettled(addresses.map(async (it) => resolve(it)));
  const found = results.flatMap((it) => (it.status === 'fulfilled' ? it.value : []));
  const failed = results.find((it) => it.status === 'rejected');
  if (found.length === 0 && failed !== undefined) throw failed.reason;
  return found.slice(0, MAX_RESOLVED);
};

const isDnsaddr = (address: Multiaddr): boolean =>
  address.getComponents()[0]?.code === CODE_DNSADDR;

const resolveHost = async (address: Multiaddr, options: ResolveOptions): Promise<Multiaddr[]> => {
  const kind = kindOf(address);
  if (kind !== 'quic-v1' && kind !== 'tcp') return [address];
  const { host, name } = hostOf(address);
  if (name === undefined) return [address];
  const family = name === 'dns4' ? 4 : name === 'dns6' ? 6 : 0;
  const { lookup } = await resolvers();
  const found = await lookUp(address, options, () => lookup(host, { all: true, family }));
  const [, ...rest] = address.getComponents();
  return found.map((it) =>
    multiaddr([
      it.family === 4
        ? { code: CODE_IP4, name: 'ip4', value: it.address }
        : { code: CODE_IP6, name: 'ip6', value: it.address },
      ...rest,
    ]),
  );
};

/** Loaded when a name is to be resolved: the module creates a resolver when it is loaded. */
const resolvers = (): Promise<typeof import('node:dns/promises')> => import('node:dns/promises');

/** The TXT records `dnsaddr=<multiaddr>` of `_dnsaddr.<name>` that end with what follows the name. */
const readDnsaddr = async (address: Multiaddr, options: ResolveOptions): Promise<Multiaddr[]> => {
  const [name, ...rest] = address.getComponents();
  const suffix = rest.length === 0 ? '' : multiaddr(rest).toString();
  const timeout = options.timeout ?? RESOLVE_TIMEOUT;
  const { Resolver } = await resolvers();
  const resolver = new Resolver({ timeout, tries: 1 });
  if (options.servers !== undefined) resolver.setServers(options.servers);
  const records = await lookUp(
    address,
    options,
    () => resolver.resolveTxt(`_dnsaddr.${name?.value}`),
    () => resolver.cancel(),
  );
  const found: Multiaddr[] = [];
  for (const record of records) {
    const text = record.join('');
    if (!text.startsWith('dnsaddr=') || !text.endsWith(suffix)) continue;
    try {
      found.push(parseMultiaddr(text.slice('dnsaddr='.length)));
    } catch {
      // A record of a transport that we do not know.
    }
    if (found.length === MAX_RESOLVED) break;
  }
  return found;
};

const lookUp = async <T>(
  address: Multiaddr,
  { timeout = RESOLVE_TIMEOUT }: ResolveOptions,
  ask: () => Promise<T>,
  expire?: () => void,
): Promise<T> => {
  try {
    return await withDeadline(ask(), timeout, `resolving ${address}`, expire);
  } catch (error) {
    if (error instanceof LeanError) throw error;
    throw notAnAddress(address.toString(), `its name was not found: ${messageOf(error)}`, error);
  }
};

const notAnAddress = (address: string, why: string, cause?: unknown): LeanError =>
  new LeanError('ERR_ADDRESS', `address ${address}: ${why}`, { cause });
