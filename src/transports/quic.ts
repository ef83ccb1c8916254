/**
 * The QUIC transport: `/ip4|ip6/<host>/udp/<port>/quic-v1` over a QUIC engine, with libp2p's mutual
 * authentication (libp2p/specs quic/README.md, tls/tls.md). QUIC brings encryption and streams, so
 * there is nothing to upgrade.
 */

import { randomBytes, randomInt } from 'node:crypto';
import type { Multiaddr } from '@multiformats/multiaddr';
import { cautionOnce } from '../caution.ts';
import type { Role, TransportConnection } from '../connection.ts';
import type { ConnectionStats } from '../connection-stats.ts';
import { LeanError } from '../errors.ts';
import type { HostKey } from '../identity/keys.ts';
import { type PeerId, peerIdOf } from '../identity/peer-id.ts';
import { addressError, kindOf, multiaddrOf, socketAddressOf } from '../multiaddr.ts';
import type { QuicConnection, QuicEngine, QuicListener } from '../quic/engine.ts';
import type { QuicLimits } from '../quic/limits.ts';
import { canReach, isLoopback, type SocketAddress } from '../socket-address.ts';
import type { Stream } from '../stream.ts';
import type { TlsIdentity } from '../tls/issue.ts';
import { createVerifier } from '../tls/verify.ts';
import type { Transport } from './transport.ts';

export interface QuicTransportOptions {
  readonly engine: QuicEngine;
  readonly hostKey: HostKey;
  /** Issued for `hostKey`. */
  readonly tls: TlsIdentity;
  readonly limits?: Partial<QuicLimits>;
  /** A warning that is emitted, once, before the transport listens beyond loopback; one line. */
  readonly caution?: string;
}

export interface QuicTransport extends Transport {
  /** Whether a dial to `address` leaves from a listener's socket. */
  dialsFromListener(address: Multiaddr): boolean;
}

/** Hosts of addresses must be IP literals: the node resolves names, and dials every result. */
export const quicTransport = ({
  engine,
  hostKey,
  tls,
  limits,
  caution,
}: QuicTransportOptions): QuicTransport => {
  const localPeer = peerIdOf(hostKey.publicKey);
  const verifyCertificate = createVerifier();
  const common = { credentials: tls, ...(limits && { limits }) };
  const description = `quic-v1 (${engine.name})`;
  const connect = (quic: QuicConnection, role: Role, remotePeer: PeerId): TransportConnection =>
    new QuicTransportConnection(quic, { role, localPeer, remotePeer, description });

  const listeners = new Set<QuicListener>();
  const listenerFor = (remote: SocketAddress): QuicListener | undefined =>
    engine.dialsFromListener
      ? [...listeners].find(({ address }) => canReach(address, remote))
      : undefined;

  return {
    name: 'quic-v1',
    handles: (address) => kindOf(address) === 'quic-v1',

    dial: async (address, { expectedPeer, signal }) => {
      const remote = quicAddressOf(address);
      let remotePeer: PeerId | undefined;
      const authenticate = (chain: readonly Uint8Array[]): void => {
        remotePeer = verifyCertificate(chain, expectedPeer);
      };
      const from = listenerFor(remote);
      const options = { ...common, authenticate, signal, ...(from && { from }) };
      const quic = await engine.dial(remote, options);
      if (remotePeer === undefined) throw await unauthenticated(quic);
      return connect(quic, 'dialer', remotePeer);
    },

    dialsFromListener: (address) => listenerFor(quicAddressOf(address)) !== undefined,

    punch: async (address, sharing, signal) => {
      const remote = quicAddressOf(address);
      const listener = listenerFor(remote);
      if (listener?.sendDatagram === undefined) return false;
      await sendRandomly((data) => listener.sendDatagram?.(remote, data), sharing, signal);
      return true;
    },

    listen: async (address, { onConnection, onRefused, pendingPool }) => {
      // The peer that each accepted certificate proves: saves a second verification.
      const proven = new WeakMap<Uint8Array, PeerId>();
      const local = quicAddressOf(address);
      if (caution !== undefined && !isLoopback(local.host)) cautionOnce(caution);
      const listener = await engine.listen({
        ...common,
        ...(pendingPool && { pendingPool }),
        address: local,
        authenticate: (chain) => {
          const peer = verifyCertificate(chain);
          if (chain[0] !== undefined) proven.set(chain[0], peer);
        },
        onConnection: (quic) => {
          const { peerCertificate } = quic;
          const peer = proven.get(peerCertificate) ?? verifyCertificate([peerCertificate]);
          onConnection(connect(quic, 'listener', peer));
        },
        onRefused: (error, remote) => onRefused(error, multiaddrOf('quic-v1', remote).toString()),
      });
      listeners.add(listener);
      return {
        address: multiaddrOf('quic-v1', listener.address),
        close: () => {
          listeners.delete(listener);
          return listener.close();
        },
      };
    },
  };
};

type Ends = Pick<TransportConnection, 'role' | 'localPeer' | 'remotePeer' | 'description'>;

/** A class for the reason given in node/connection.ts. */
class QuicTransportConnection implements TransportConnection {
  readonly role: Role;
  readonly localPeer: PeerId;
  readonly remotePeer: PeerId;
  readonly description: string;
  handshakeTime: number | undefined;
  readonly #quic: QuicConnection;
  /** Made when first used, like `#remoteAddress`. */
  #localAddress: Multiaddr | undefined;
  #remoteAddress: Multiaddr | undefined;

  constructor(quic: QuicConnection, { role, localPeer, remotePeer, description }: Ends) {
    this.role = role;
    this.localPeer = localPeer;
    this.remotePeer = remotePeer;
    this.description = description;
    this.#quic = quic;
  }

  get localAddress(): Multiaddr {
    this.#localAddress ??= multiaddrOf('quic-v1', this.#quic.localAddress);
    return this.#localAddress;
  }

  get remoteAddress(): Multiaddr {
    this.#remoteAddress ??= multiaddrOf('quic-v1', this.#quic.remoteAddress);
    return this.#remoteAddress;
  }

  get memory(): TransportConnection['memory'] {
    return this.#quic.memory;
  }

  get closed(): TransportConnection['closed'] {
    return this.#quic.closed;
  }

  openStream(signal?: AbortSignal): Promise<Stream> {
    return this.#quic.openStream(signal);
  }

  acceptStream(): Promise<Stream | null> {
    return this.#quic.acceptStream();
  }

  close(code?: number, reason?: string): Promise<void> {
    return this.#quic.close(code, reason);
  }

  stats(): ConnectionStats | undefined {
    return this.#quic.stats?.();
  }
}

/** Bytes of a datagram that opens a NAT; go-libp2p's and rust-libp2p's value. */
const PUNCH_SIZE = 64;
/** The least and most milliseconds between two of them (libp2p/specs relay/DCUtR.md). */
const PUNCH_WAIT = [10, 200] as const;

/** Sends datagrams of random bytes at random intervals, `slower` times as long, until `signal` fires. */
const sendRandomly = (
  send: (data: Uint8Array) => void,
  slower: number,
  signal: AbortSignal,
): Promise<void> =>
  new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const next = (): void => {
      const data = randomBytes(PUNCH_SIZE);
      // Clears the fixed bit of QUIC packets (RFC 9000 section 17), so that it is not taken for one.
      data[0] = (data[0] ?? 0) & 0x3f;
      send(data);
      timer = setTimeout(next, slower * randomInt(PUNCH_WAIT[0], PUNCH_WAIT[1] + 1));
    };
    const end = (): void => {
      clearTimeout(timer);
      resolve();
    };
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    else next();
  });

/** @throws ERR_ADDRESS */
const quicAddressOf = (address: Multiaddr): SocketAddress => {
  if (kindOf(address) === 'quic-v1') return socketAddressOf(address);
  throw addressError(address.toString(), 'it is not an address of quic-v1');
};

/** The error if an engine has violated its contract and not called `authenticate`; closes the connection. */
const unauthenticated = async (quic: QuicConnection): Promise<LeanError> => {
  await quic.close();
  return new LeanError('ERR_HANDSHAKE', 'the QUIC engine did not authenticate the peer');
};
