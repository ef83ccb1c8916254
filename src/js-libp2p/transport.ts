/** js-libp2p's `Transport` over a QUIC engine: `/ip4|ip6|dns…/<host>/udp/<port>/quic-v1`. */

import {
  type Connection,
  type DialTransportOptions,
  type Listener,
  type MultiaddrFilter,
  type Startable,
  serviceCapabilities,
  type Transport,
  transportSymbol,
} from '@libp2p/interface';
import type { Multiaddr } from '@multiformats/multiaddr';
import { orAborted } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import {
  checkDialable,
  hostOf,
  kindOf,
  multiaddrOf,
  peerOf,
  socketAddressOf,
  withoutPeer,
  withPeer,
} from '../multiaddr.ts';
import type { QuicConnection } from '../quic/engine.ts';
import { checkEngineChoice } from '../quic/engine-name.ts';
import { quicLimitsOf } from '../quic/limits.ts';
import { resolveMultiaddr } from '../resolve-multiaddr.ts';
import { checkRuntime } from '../runtime.ts';
import type { SocketAddress } from '../socket-address.ts';
import { QuicMultiaddrConnection } from './connection.ts';
import { createEndpoint, type Endpoint } from './endpoint.ts';
import { libp2pErrorOf } from './errors.ts';
import { createQuicListener } from './listener.ts';
import { quicMuxerFactory } from './muxer.ts';
import type { QuicComponents, QuicOptions } from './options.ts';
import { remotePeerOf } from './peers.ts';

/**
 * A transport for `createLibp2p({ transports: [quic()] })`.
 *
 * @throws ERR_OPTIONS for an unknown engine, or a limit that is unknown or out of range; ERR_UNSUPPORTED on a
 * Node.js that is too old.
 */
export const quic = (options: QuicOptions = {}): ((components: QuicComponents) => Transport) => {
  checkRuntime();
  checkEngineChoice(options.engine ?? 'auto');
  quicLimitsOf(options.limits);
  return (components) => createTransport(components, options);
};

const dialFilter: MultiaddrFilter = (addresses) =>
  addresses.filter((address) => kindOf(address) === 'quic-v1');

const listenFilter: MultiaddrFilter = (addresses) =>
  dialFilter(addresses).filter((address) => hostOf(address).name === undefined);

const createTransport = (
  components: QuicComponents,
  options: QuicOptions,
): Transport & Startable => {
  const endpoint = createEndpoint(components, options);
  const muxerOptions = options.streamOptions ? { streamOptions: options.streamOptions } : {};
  const log = components.logger.forComponent('libp2p:quic:transport');
  const connectionLog = log.newScope('connection');
  const events = components.metrics?.registerCounterGroup('libp2p_quic_dialer_events_total', {
    label: 'event',
    help: 'Total count of QUIC dialer events by type',
  });
  const errors = components.metrics?.registerCounterGroup('libp2p_quic_dialer_errors_total', {
    label: 'event',
    help: 'Total count of QUIC dialer errors by type',
  });

  const dial = async (address: Multiaddr, options: DialTransportOptions): Promise<Connection> => {
    const { upgrader, signal, onProgress } = options;
    signal.throwIfAborted();
    onProgress?.(new CustomEvent('quic:open-connection', { detail: { address } }));
    log('dialing %a', address);
    let dialled: Dialled;
    try {
      dialled = await dialAny(endpoint, address, signal);
    } catch (error) {
      events?.increment(signal.aborted ? { abort: true } : { error: true });
      throw libp2pErrorOf(error);
    }
    events?.increment({ connect: true });
    const { connection, peer } = dialled;
    const maConn = new QuicMultiaddrConnection({
      connection,
      remoteAddr: withPeer(address, peer),
      direction: 'outbound',
      log: connectionLog,
      metrics: events,
    });
    try {
      const remotePeer = remotePeerOf(peer);
      return await upgrader.upgradeOutbound(maConn, {
        skipEncryption: true,
        skipProtection: true,
        remotePeer,
        muxerFactory: quicMuxerFactory({
          ...muxerOptions,
          connection,
          traffic: components.metrics && maConn.traffic,
          remotePeer,
          agreed: endpoint.agreed,
        }),
        signal,
        ...(onProgress && { onProgress }),
      });
    } catch (error) {
      errors?.increment({ outbound_upgrade: true });
      log.error('error upgrading outbound connection - %e', error);
      maConn.abort(libp2pErrorOf(error));
      throw error;
    }
  };

  return {
    [transportSymbol]: true,
    [Symbol.toStringTag]: '@libp2p/quic',
    ...{ [serviceCapabilities]: ['@libp2p/transport'] },
    listenFilter,
    dialFilter,
    dial,
    createListener: ({ upgrader }): Listener =>
      createQuicListener({ endpoint, upgrader, components, muxerOptions }),
    /** Saves the first dial the time that loading takes. If that fails, so do dials and listeners. */
    start: async () => {
      try {
        await warmUp(await endpoint.prepare());
      } catch (error) {
        log.error('cannot dial - %e', error);
      }
    },
    /** Listeners and connections are closed by js-libp2p. */
    stop: () => {},
  };
};

interface Dialled {
  readonly connection: QuicConnection;
  readonly peer: PeerId;
}

interface Target {
  readonly expected: PeerId | undefined;
  readonly remotes: readonly SocketAddress[];
}

/** @throws ERR_ADDRESS */
const targetOf = async (address: Multiaddr): Promise<Target> => {
  checkDialable(address);
  const resolved = await resolveMultiaddr(withoutPeer(address));
  return { expected: peerOf(address), remotes: resolved.map(socketAddressOf) };
};

/** Runs the code of a dial that takes milliseconds the first time, with `self` as the peer. Nothing is sent. */
const warmUp = async (self: PeerId): Promise<void> => {
  remotePeerOf(self);
  await targetOf(withPeer(multiaddrOf('quic-v1', { host: '127.0.0.1', port: 1 }), self));
};

/** Dials the addresses that `address` resolves to, one after the other, until one answers. */
const dialAny = async (
  endpoint: Endpoint,
  address: Multiaddr,
  signal: AbortSignal,
): Promise<Dialled> => {
  const engine = await endpoint.engine('dialer');
  const credentials = endpoint.tls();
  const { expected, remotes } = await orAborted(targetOf(address), signal, 'the dial');
  let failure: unknown;
  for (const remote of remotes) {
    let peer: PeerId | undefined;
    try {
      const connection = await engine.dial(remote, {
        credentials,
        limits: endpoint.limits,
        authenticate: (chain) => {
          peer = endpoint.verifyCertificate(chain, expected);
        },
        signal,
        ...endpoint.leaveFrom(engine, remote),
      });
      if (peer !== undefined) return { connection, peer };
      await connection.close();
      throw new LeanError('ERR_HANDSHAKE', 'the QUIC engine did not authenticate the peer');
    } catch (error) {
      failure ??= error;
      if (signal.aborted) break;
    }
  }
  throw failure;
};
