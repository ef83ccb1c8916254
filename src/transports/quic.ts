/**
 * The QUIC transport: `/ip4|ip6/<host>/udp/<port>/quic-v1` over a QUIC engine, with libp2p's mutual
 * authentication (libp2p/specs quic/README.md, tls/tls.md). QUIC brings encryption and streams, so
 * there is nothing to upgrade.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import { isLoopback } from '../admission.ts';
import type { Role, TransportConnection } from '../connection.ts';
import { LeanError } from '../errors.ts';
import type { HostKey } from '../identity/keys.ts';
import { type PeerId, peerIdOf } from '../identity/peer-id.ts';
import { kindOf, multiaddrOf, socketAddressOf } from '../multiaddr.ts';
import type { QuicConnection, QuicEngine, QuicLimits } from '../quic/engine.ts';
import type { SocketAddress } from '../socket-address.ts';
import type { TlsIdentity } from '../tls/issue.ts';
import { createVerifier } from '../tls/verify.ts';
import type { Transport } from './transport.ts';

export interface QuicTransportOptions {
  readonly engine: QuicEngine;
  readonly hostKey: HostKey;
  /** Issued for `hostKey`. */
  readonly tls: TlsIdentity;
  readonly limits?: Partial<QuicLimits>;
  /** Emitted as a warning of the process, once, before it listens beyond loopback. */
  readonly caution?: string;
}

/** Hosts must be IP addresses: names are resolved by the node, which dials every result. */
export const quicTransport = ({
  engine,
  hostKey,
  tls,
  limits,
  caution,
}: QuicTransportOptions): Transport => {
  const localPeer = peerIdOf(hostKey.publicKey);
  const verifyCertificate = createVerifier();
  const common = { credentials: tls, ...(limits && { limits }) };
  let warned = caution === undefined;
  const warn = ({ host }: SocketAddress): void => {
    if (warned || isLoopback(host)) return;
    warned = true;
    process.emitWarning(caution ?? '', CAUTION);
  };
  const description = `quic-v1 (${engine.name})`;
  const connect = (quic: QuicConnection, role: Role, remotePeer: PeerId): TransportConnection => {
    // Few ask for them.
    let localAddress: Multiaddr | undefined;
    let remoteAddress: Multiaddr | undefined;
    return {
      role,
      localPeer,
      remotePeer,
      description,
      get localAddress() {
        localAddress ??= multiaddrOf('quic-v1', quic.localAddress);
        return localAddress;
      },
      get remoteAddress() {
        remoteAddress ??= multiaddrOf('quic-v1', quic.remoteAddress);
        return remoteAddress;
      },
      openStream: (signal) => quic.openStream(signal),
      acceptStream: () => quic.acceptStream(),
      close: (code, reason) => quic.close(code, reason),
      closed: quic.closed,
      memory: quic.memory,
      ...(quic.stats && { stats: () => quic.stats?.() }),
    };
  };

  return {
    name: 'quic-v1',
    handles: (address) => kindOf(address) === 'quic-v1',

    dial: async (address, { expectedPeer, signal }) => {
      const remote = quicAddressOf(address);
      let remotePeer: PeerId | undefined;
      const authenticate = (chain: readonly Uint8Array[]): void => {
        remotePeer = verifyCertificate(chain, expectedPeer);
      };
      const quic = await engine.dial(remote, { ...common, authenticate, signal });
      if (remotePeer === undefined) throw await unauthenticated(quic);
      return connect(quic, 'dialer', remotePeer);
    },

    listen: async (address, { onConnection, onRefused }) => {
      // From the engine's certificate to the peer it proved: spares a second verification.
      const proven = new WeakMap<Uint8Array, PeerId>();
      const local = quicAddressOf(address);
      warn(local);
      const listener = await engine.listen({
        ...common,
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
      return {
        address: multiaddrOf('quic-v1', listener.address),
        close: () => listener.close(),
      };
    },
  };
};

/** The name of the warning. */
export const CAUTION = 'LeanCaution';

/** @throws ERR_ADDRESS */
const quicAddressOf = (address: Multiaddr): SocketAddress => {
  if (kindOf(address) === 'quic-v1') return socketAddressOf(address);
  throw new LeanError('ERR_ADDRESS', `address ${address} is not a quic-v1 address`);
};

/** An engine that does not authenticate breaks its contract; nothing may come of the connection. */
const unauthenticated = async (quic: QuicConnection): Promise<LeanError> => {
  await quic.close();
  return new LeanError('ERR_HANDSHAKE', 'the QUIC engine did not authenticate the peer');
};
