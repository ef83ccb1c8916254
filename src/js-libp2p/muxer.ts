/** The streams of a QUIC connection, which needs no muxer, as a js-libp2p stream muxer. */

import type {
  CreateStreamOptions,
  MessageStream,
  PeerId,
  StreamMuxerFactory,
  StreamMuxerOptions,
} from '@libp2p/interface';
import { AbstractStreamMuxer } from '@libp2p/utils';
import { selectLazily } from '../multistream.ts';
import type { QuicConnection } from '../quic/engine.ts';
import type { Stream } from '../stream.ts';
import type { AgreedProtocols } from './agreed-protocols.ts';
import type { Traffic } from './connection.ts';
import { libp2pErrorOf } from './errors.ts';
import { QuicStream, type QuicStreamInit, type ReadAhead } from './stream.ts';

const PROTOCOL = 'quic';
/** What a connection's streams may read ahead together, as a part of its `connectionMemory`. */
const AHEAD_PART = 4;
/** The errors with which a stream ends if the peer refuses its protocol: some peers do so by a reset. */
const REFUSED: ReadonlySet<string> = new Set(['UnsupportedProtocolError', 'StreamResetError']);

export interface QuicMuxerInit extends StreamMuxerOptions {
  readonly connection: QuicConnection;
  /** Is called with the bytes that streams carry. */
  readonly traffic?: Traffic | undefined;
  readonly remotePeer: PeerId;
  /** Without it, every stream waits until the peer has accepted its protocol. */
  readonly agreed?: AgreedProtocols | undefined;
}

/** A factory for the muxer of one connection. */
export const quicMuxerFactory = (init: QuicMuxerInit): StreamMuxerFactory => ({
  protocol: PROTOCOL,
  createStreamMuxer: (maConn) => new QuicStreamMuxer(maConn, init),
});

class QuicStreamMuxer extends AbstractStreamMuxer<QuicStream> {
  readonly #connection: QuicConnection;
  readonly #traffic: Traffic | undefined;
  readonly #agreed: AgreedProtocols | undefined;
  readonly #peer: string;
  readonly #ahead: ReadAhead;
  #accepting = false;

  constructor(maConn: MessageStream, init: QuicMuxerInit) {
    const { connection, traffic, remotePeer, agreed, ...options } = init;
    super(maConn, { ...options, protocol: PROTOCOL, name: PROTOCOL });
    this.#connection = connection;
    this.#ahead = { bytes: 0, most: Math.floor(connection.memory.limit / AHEAD_PART) };
    this.#traffic = traffic;
    this.#peer = remotePeer.toString();
    this.#agreed = agreed;
  }

  /** Starts to accept streams when a listener for them is added, so that none arrives before it. */
  override addEventListener(
    ...args: Parameters<AbstractStreamMuxer<QuicStream>['addEventListener']>
  ): void {
    super.addEventListener(...args);
    if (args[0] !== 'stream' || this.#accepting) return;
    this.#accepting = true;
    this.#acceptAll().catch((error) => this.log.error('accepting streams failed - %e', error));
  }

  async #acceptAll(): Promise<void> {
    for (;;) {
      const stream = await this.#connection.acceptStream();
      if (stream === null) return;
      if (this.status === 'open') this.onRemoteStream(this.#wrap(stream, 'inbound'));
      else stream.reset(0);
    }
  }

  /**
   * If the peer has accepted `protocol` before, negotiates the stream lazily, as go-libp2p does: what is written to it is
   * sent with the proposal. Other streams are negotiated by js-libp2p.
   */
  override async onCreateStream(init: CreateStreamOptions): Promise<QuicStream> {
    const { signal, protocol, ...options } = init;
    const agreed = this.#agreed;
    try {
      const stream = await this.#connection.openStream(signal);
      if (protocol !== undefined && agreed?.has(this.#peer, protocol)) {
        const lazy = selectLazily(stream, protocol);
        const made = this.#wrap(lazy, 'outbound', { ...options, protocol });
        made.addEventListener('close', ({ error }) => {
          if (REFUSED.has(error?.name ?? '')) agreed.delete(this.#peer, protocol);
        });
        return made;
      }
      const made = this.#wrap(stream, 'outbound', { ...options, protocol: '' });
      made.addEventListener('close', () => {
        if (made.protocol !== '') agreed?.add(this.#peer, made.protocol);
      });
      return made;
    } catch (error) {
      throw libp2pErrorOf(error);
    }
  }

  #wrap(
    stream: Stream,
    direction: 'inbound' | 'outbound',
    options: Omit<QuicStreamInit, 'stream' | 'ahead' | 'direction' | 'log'> | undefined = this
      .streamOptions,
  ): QuicStream {
    return new QuicStream({
      ...options,
      stream,
      ahead: this.#ahead,
      traffic: this.#traffic,
      direction,
      log: this.log.newScope(`${direction}:${stream.id}`),
    });
  }

  /** Streams with unread bytes outlive the connection, which no longer lists them. */
  override onTransportClosed(error?: Error): void {
    super.onTransportClosed(error);
    this.streams = [];
  }

  /** The connection dispatches received bytes for metrics only: its streams have read them already. */
  override onData(): void {}
}
