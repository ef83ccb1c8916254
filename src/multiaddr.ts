/**
 * Multiaddrs (https://github.com/multiformats/multiaddr): which transport an address is for, its host, port, peer
 * and relay, and the addresses behind an unspecified host. resolve-multiaddr.ts resolves names.
 */

import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import {
  CODE_DNS,
  CODE_DNS4,
  CODE_DNS6,
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
import { LeanError, messageOf } from './errors.ts';
import { type PeerId, parsePeerId, peerIdFromMultihash } from './identity/peer-id.ts';
import { quote } from './printable.ts';
import { plainHost, type SocketAddress } from './socket-address.ts';

/** The transports whose addresses are recognised, by the names that the interop matrices use. */
export type AddressKind = 'quic-v1' | 'tcp' | 'ws' | 'wss';

/** The longest text (characters) and encoding (bytes) accepted: a p2p address with a DNS name stays below it. */
const MAX_LENGTH = 1024;

/** Parses a multiaddr in text form; a `Multiaddr` is returned as it is. @throws ERR_ADDRESS when `address` is not one. */
export const parseMultiaddr = (address: Multiaddr | string): Multiaddr => {
  if (isMultiaddr(address)) return address;
  if (address.length > MAX_LENGTH) throw addressError(quote(address, 64), 'too long');
  try {
    const parsed = multiaddr(address);
    if (parsed.getComponents().length === 0) throw new Error('empty');
    // Some values are only checked when encoded. That is slow for a peer id, so skipped for our own transports.
    if (kindOf(parsed) === undefined) parsed.bytes;
    return parsed;
  } catch (cause) {
    throw addressError(quote(address, MAX_LENGTH), messageOf(cause), cause);
  }
};

/**
 * Decodes a multiaddr in binary form, which is copied. Its encoding must be minimal and its peer ids valid, so that
 * `peerOf` does not throw for it.
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
    throw addressError(text, messageOf(cause), cause);
  }
};

/**
 * Checks the peer ids before the library turns them into text: it accepts any bytes as a peer id, and base58 takes time
 * quadratic in their length, 10 ms for 1 KB. A peer may send many addresses.
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

/** The kind of `address`, with or without `/p2p/<peer>` at its end; `undefined` when none of our transports handles it. */
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
  /** Which kind of name `host` is; `undefined` for an IP literal. */
  readonly name: 'dns' | 'dns4' | 'dns6' | undefined;
}

/** The host and port that `address` starts with. @throws ERR_ADDRESS when it does not start with a host and a TCP or UDP port. */
export const hostOf = (address: Multiaddr): Host => {
  const [host, port] = address.getComponents();
  const isPort = port?.code === CODE_TCP || port?.code === CODE_UDP;
  if (host?.value === undefined || !HOST_CODES.has(host.code) || !isPort) {
    throw addressError(address.toString(), 'it has no host and port');
  }
  const name = host.name === 'ip4' || host.name === 'ip6' ? undefined : host.name;
  return { host: host.value, port: Number(port.value), name: name as Host['name'] };
};

/** The IP version that a name must be resolved to, as `dns.lookup` takes it; 0: either. */
export const familyOf = ({ name }: Pick<Host, 'name'>): 0 | 4 | 6 =>
  name === 'dns4' ? 4 : name === 'dns6' ? 6 : 0;

/**
 * The IP address that `address` starts with, as `plainHost` returns it; for a relayed address, the relay's. `undefined`
 * when it starts with a name, or, as custom transports' addresses may, with something else.
 */
export const ipOf = (address: Multiaddr): string | undefined => {
  const [host] = address.getComponents();
  const isIp = host?.code === CODE_IP4 || host?.code === CODE_IP6;
  return isIp && host.value !== undefined ? plainHost(host.value) : undefined;
};

/** The IP address and port that `address` starts with. @throws ERR_ADDRESS as {@link hostOf}, and when the host is a name. */
export const socketAddressOf = (address: Multiaddr): SocketAddress => {
  const { host, port, name } = hostOf(address);
  if (name !== undefined) throw addressError(address.toString(), 'its host is not an IP address');
  return { host, port };
};

/** The multiaddr `/ip4|ip6/<host>/udp|tcp/<port>…` of a socket address. IPv4-mapped IPv6 hosts become IPv4. */
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

/** The results of `peerOf`: a dial calls it three times, and decoding base58 is slow. */
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
    throw addressError(address.toString(), messageOf(cause), cause);
  }
};

/** @throws ERR_ADDRESS when `address` cannot be dialled: port 0, a malformed peer id, a circuit without a relay. */
export const checkDialable = (address: Multiaddr): void => {
  peerOf(address);
  if (isCircuit(address)) relayOf(address);
  const port = address.getComponents()[1];
  const isPort = port?.code === CODE_TCP || port?.code === CODE_UDP;
  if (isPort && Number(port.value) === 0) {
    throw addressError(address.toString(), 'nobody listens on port 0');
  }
};

/** `address` with `/p2p/<peer>` at its end, in place of another peer there. */
export const withPeer = (address: Multiaddr, peer: PeerId): Multiaddr =>
  multiaddr([
    ...withoutPeer(address).getComponents(),
    { code: CODE_P2P, name: 'p2p', value: peer.toString() },
  ]);

/** `address` without `/p2p/<peer>` at its end. */
export const withoutPeer = (address: Multiaddr): Multiaddr => {
  const components = address.getComponents();
  return components.at(-1)?.code === CODE_P2P ? multiaddr(components.slice(0, -1)) : address;
};

/** Whether `address` leads through a relay. */
export const isCircuit = (address: Multiaddr): boolean =>
  address.getComponents().some(({ code }) => code === CODE_P2P_CIRCUIT);

/** The address `<relay>/p2p-circuit`. @param relay with `/p2p/<relay's id>`. */
export const circuitOf = (relay: Multiaddr): Multiaddr =>
  multiaddr([...relay.getComponents(), { code: CODE_P2P_CIRCUIT, name: 'p2p-circuit' }]);

/**
 * The relay's address, with its id, in `<relay>/p2p/<relay's id>/p2p-circuit[/p2p/<peer>]`.
 *
 * @throws ERR_ADDRESS for other addresses: without a relay, with two, or with further components.
 */
export const relayOf = (address: Multiaddr): Multiaddr => {
  const components = withoutPeer(address).getComponents();
  const last = components.at(-1);
  const relay = components.slice(0, -1);
  if (last?.code !== CODE_P2P_CIRCUIT || relay.some(({ code }) => code === CODE_P2P_CIRCUIT)) {
    throw addressError(address.toString(), 'it is not <relay>/p2p-circuit/p2p/<peer>');
  }
  if (relay.length < 2 || relay.at(-1)?.code !== CODE_P2P) {
    throw addressError(
      address.toString(),
      'it does not say which relay: …/p2p/<relay>/p2p-circuit',
    );
  }
  return multiaddr(relay);
};

/**
 * The addresses to publish for a bound address: itself, or, if its host is unspecified (`0.0.0.0`, `::`), one for
 * each address of this machine's interfaces, loopback last. Link-local addresses are left out, as they need a zone.
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

/** The error for an address that cannot be used. @param address printable. @param why completes `address …: <why>`. */
export const addressError = (address: string, why: string, cause?: unknown): LeanError =>
  new LeanError('ERR_ADDRESS', `address ${address}: ${why}`, { cause });
