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
import { QuicStream, type QuicStreamInit } from './stream.ts';

const PROTOCOL = 'quic';
/** How a stream ends whose peer does not agree to its protocol: some refuse by a reset. */
const REFUSED: ReadonlySet<string> = new Set(['UnsupportedProtocolError', 'StreamResetError']);

export interface QuicMuxerInit extends StreamMuxerOptions {
  readonly connection: QuicConnection;
  /** Is given the bytes that streams carry. */
  readonly traffic?: Traffic | undefined;
  readonly remotePeer: PeerId;
  /** Without it, every stream waits until the peer has agreed to its protocol. */
  readonly agreed?: AgreedProtocols | undefined;
}

/** For one connection: its muxer gets that connection's streams. */
export const quicMuxerFactory = (init: QuicMuxerInit): StreamMuxerFactory => ({
  protocol: PROTOCOL,
  createStreamMuxer: (maConn) => new QuicStreamMuxer(maConn, init),
});

class QuicStreamMuxer extends AbstractStreamMuxer<QuicStream> {
  readonly #connection: QuicConnection;
  readonly #traffic: Traffic | undefined;
  readonly #agreed: AgreedProtocols | undefined;
  readonly #peer: string;
  #accepting = false;

  constructor(maConn: MessageStream, init: QuicMuxerInit) {
    const { connection, traffic, remotePeer, agreed, ...options } = init;
    super(maConn, { ...options, protocol: PROTOCOL, name: PROTOCOL });
    this.#connection = connection;
    this.#traffic = traffic;
    this.#peer = remotePeer.toString();
    this.#agreed = agreed;
  }

  /** Streams are accepted once there is a listener for them: there are no early ones. */
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
   * With a protocol that the peer has agreed to before, the stream is negotiated lazily, as go-libp2p does it: what is
   * written to it leaves with the proposal. Its other streams js-libp2p negotiates.
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
    options: Omit<QuicStreamInit, 'stream' | 'direction' | 'log'> | undefined = this.streamOptions,
  ): QuicStream {
    return new QuicStream({
      ...options,
      stream,
      traffic: this.#traffic,
      direction,
      log: this.log.newScope(`${direction}:${stream.id}`),
    });
  }

  /** Streams with unread bytes go on without the connection, which no longer lists them. */
  override onTransportClosed(error?: Error): void {
    super.onTransportClosed(error);
    this.streams = [];
  }

  /** The connection dispatches received bytes for metrics only: its streams have read them already. */
  override onData(): void {}
}
