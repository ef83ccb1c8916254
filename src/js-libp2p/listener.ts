/** js-libp2p's `Listener` over a QUIC engine. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  AlreadyStartedError,
  type CounterGroup,
  type Listener,
  type ListenerEvents,
  type Logger,
  type StreamMuxerOptions,
  setMaxListeners,
  TypedEventEmitter,
  type Upgrader,
} from '@libp2p/interface';
import type { Multiaddr } from '@multiformats/multiaddr';
import { errorOf } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { multiaddrOf, reachableAddresses, socketAddressOf, withPeer } from '../multiaddr.ts';
import type { QuicConnection, QuicListener } from '../quic/engine.ts';
import { QuicMultiaddrConnection } from './connection.ts';
import type { Endpoint } from './endpoint.ts';
import { libp2pErrorOf } from './errors.ts';
import { quicMuxerFactory } from './muxer.ts';
import type { QuicComponents } from './options.ts';
import { remotePeerOf } from './peers.ts';

export interface QuicListenerInit {
  readonly endpoint: Endpoint;
  readonly upgrader: Upgrader;
  readonly components: QuicComponents;
  readonly muxerOptions: StreamMuxerOptions;
}

export const createQuicListener = (init: QuicListenerInit): Listener =>
  new QuicTransportListener(init);

class QuicTransportListener extends TypedEventEmitter<ListenerEvents> implements Listener {
  readonly #init: QuicListenerInit;
  readonly #log: Logger;
  readonly #connectionLog: Logger;
  readonly #events: CounterGroup | undefined;
  readonly #errors: CounterGroup | undefined;
  /** Fires when it closes: ends upgrades. */
  readonly #closing = new AbortController();
  readonly #connections = new Set<QuicMultiaddrConnection>();
  #started = false;
  #listener: QuicListener | undefined;
  /** For metrics. */
  #name = 'unknown';

  constructor(init: QuicListenerInit) {
    super();
    this.#init = init;
    const { logger, metrics } = init.components;
    this.#connectionLog = logger.forComponent('libp2p:quic:connection');
    this.#log = logger.forComponent('libp2p:quic:listener');
    setMaxListeners(Number.POSITIVE_INFINITY, this.#closing.signal);
    metrics?.registerMetricGroup('libp2p_quic_inbound_connections_total', {
      label: 'address',
      help: 'Current active connections in QUIC listener',
      calculate: () => ({ [this.#name]: this.#connections.size }),
    });
    this.#events = metrics?.registerCounterGroup('libp2p_quic_listener_events_total', {
      label: 'address',
      help: 'Total count of QUIC listener events by type',
    });
    this.#errors = metrics?.registerCounterGroup('libp2p_quic_listener_errors_total', {
      label: 'address',
      help: 'Total count of QUIC listener errors by type',
    });
  }

  async listen(address: Multiaddr): Promise<void> {
    if (this.#started) throw new AlreadyStartedError('this listener was started already');
    this.#started = true;
    const { endpoint } = this.#init;
    try {
      const engine = await endpoint.engine('listener');
      const proven = new WeakMap<Uint8Array, PeerId>();
      this.#listener = await engine.listen({
        address: socketAddressOf(address),
        credentials: endpoint.tls(),
        limits: endpoint.limits,
        authenticate: (chain) => {
          const peer = endpoint.verifyCertificate(chain);
          if (chain[0] !== undefined) proven.set(chain[0], peer);
        },
        onConnection: (connection) => {
          const { peerCertificate } = connection;
          const peer = proven.get(peerCertificate) ?? endpoint.verifyCertificate([peerCertificate]);
          this.#upgrade(connection, peer).catch((error) => this.#log.error('%e', error));
        },
        onRefused: (error, remote) => {
          this.#log('refused a connection from %s - %e', remote.host, error);
          this.#errors?.increment({ [`${this.#name} handshake`]: true });
        },
      });
    } catch (error) {
      this.#started = false;
      this.#errors?.increment({ [`${this.#name} listen_error`]: true });
      throw libp2pErrorOf(error);
    }
    const { host, port } = this.#listener.address;
    this.#name = `${host}:${port}`;
    endpoint.listeners.add(this.#listener);
    this.#log('listening on %s', this.#name);
    this.safeDispatchEvent('listening');
  }

  async #upgrade(connection: QuicConnection, peer: PeerId): Promise<void> {
    const { upgrader, muxerOptions, components } = this.#init;
    this.#events?.increment({ [`${this.#name} connect`]: true });
    const maConn = new QuicMultiaddrConnection({
      connection,
      remoteAddr: withPeer(multiaddrOf('quic-v1', connection.remoteAddress), peer),
      direction: 'inbound',
      log: this.#connectionLog,
      metrics: this.#events,
      metricPrefix: `${this.#name} `,
    });
    this.#connections.add(maConn);
    maConn.addEventListener('close', () => this.#connections.delete(maConn), { once: true });
    try {
      const remotePeer = remotePeerOf(peer);
      await upgrader.upgradeInbound(maConn, {
        skipEncryption: true,
        skipProtection: true,
        remotePeer,
        muxerFactory: quicMuxerFactory({
          ...muxerOptions,
          connection,
          traffic: components.metrics && maConn.traffic,
          remotePeer,
          agreed: this.#init.endpoint.agreed,
        }),
        signal: this.#closing.signal,
      });
    } catch (error) {
      this.#log.error('error upgrading inbound connection from %a - %e', maConn.remoteAddr, error);
      this.#errors?.increment({ [`${this.#name} inbound_upgrade`]: true });
      maConn.abort(errorOf(error));
    }
  }

  getAddrs(): Multiaddr[] {
    if (this.#listener === undefined) return [];
    return reachableAddresses(multiaddrOf('quic-v1', this.#listener.address));
  }

  /** A QUIC address is complete: there is nothing to add. */
  updateAnnounceAddrs(): void {}

  async close(): Promise<void> {
    this.#closing.abort();
    const listener = this.#listener;
    if (listener === undefined) return;
    this.#listener = undefined;
    this.#init.endpoint.listeners.delete(listener);
    // Its connections end with it. A connection manager that stops in the same turn has to see them
    // end: it waits 500 ms for the end of one that it missed.
    await nextTurn();
    await listener.close();
    this.#log('closed %s', this.#name);
    this.safeDispatchEvent('close');
  }
}
