/** The streams of a QUIC connection, which needs no muxer, as a js-libp2p stream muxer. */

import type {
  CreateStreamOptions,
  MessageStream,
  StreamMuxerFactory,
  StreamMuxerOptions,
} from '@libp2p/interface';
import { AbstractStreamMuxer } from '@libp2p/utils';
import type { QuicConnection } from '../quic/engine.ts';
import type { Stream } from '../stream.ts';
import type { Traffic } from './connection.ts';
import { libp2pErrorOf } from './errors.ts';
import { QuicStream } from './stream.ts';

const PROTOCOL = 'quic';

export interface QuicMuxerInit extends StreamMuxerOptions {
  readonly connection: QuicConnection;
  /** Is given the bytes that streams carry. */
  readonly traffic?: Traffic | undefined;
}

/** For one connection: its muxer gets that connection's streams. */
export const quicMuxerFactory = (init: QuicMuxerInit): StreamMuxerFactory => ({
  protocol: PROTOCOL,
  createStreamMuxer: (maConn) => new QuicStreamMuxer(maConn, init),
});

class QuicStreamMuxer extends AbstractStreamMuxer<QuicStream> {
  readonly #connection: QuicConnection;
  readonly #traffic: Traffic | undefined;
  #accepting = false;

  constructor(maConn: MessageStream, { connection, traffic, ...options }: QuicMuxerInit) {
    super(maConn, { ...options, protocol: PROTOCOL, name: PROTOCOL });
    this.#connection = connection;
    this.#traffic = traffic;
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

  override async onCreateStream({ signal, ...options }: CreateStreamOptions): Promise<QuicStream> {
    let stream: Stream;
    try {
      stream = await this.#connection.openStream(signal);
    } catch (error) {
      throw libp2pErrorOf(error);
    }
    return this.#wrap(stream, 'outbound', options);
  }

  #wrap(
    stream: Stream,
    direction: 'inbound' | 'outbound',
    options = this.streamOptions,
  ): QuicStream {
    return new QuicStream({
      ...options,
      protocol: '',
      stream,
      traffic: this.#traffic,
      direction,
      log: this.log.newScope(`${direction}:${stream.id}`),
    });
  }

  /** Streams that still have bytes to hand over are not streams of a connection any more. */
  override onTransportClosed(error?: Error): void {
    super.onTransportClosed(error);
    this.streams = [];
  }

  /** Streams have had it: what comes here is told to metrics. */
  override onData(): void {}
}
