/** A QUIC connection in the shape that js-libp2p's upgrader expects. */

import {
  ConnectionFailedError,
  type CounterGroup,
  type Logger,
  StreamMessageEvent,
  TimeoutError,
} from '@libp2p/interface';
import { AbstractMultiaddrConnection } from '@libp2p/utils';
import type { Multiaddr } from '@multiformats/multiaddr';
import { type CloseReason, describeClose } from '../close-reason.ts';
import type { QuicConnection } from '../quic/engine.ts';
import { resetCodeOf } from './errors.ts';

/** Is called with the bytes that the streams of a connection carry, for metrics. */
export interface Traffic {
  sent(bytes: Uint8Array): void;
  received(bytes: Uint8Array): void;
}

export interface QuicMultiaddrConnectionInit {
  readonly connection: QuicConnection;
  readonly remoteAddr: Multiaddr;
  readonly direction: 'inbound' | 'outbound';
  readonly log: Logger;
  readonly metrics?: CounterGroup | undefined;
  readonly metricPrefix?: string;
}

export class QuicMultiaddrConnection extends AbstractMultiaddrConnection {
  readonly #connection: QuicConnection;
  /** `traffic` is calling `send()`, to report bytes: nothing is to be sent. */
  #counting = false;

  constructor({ connection, metrics, ...init }: QuicMultiaddrConnectionInit) {
    super({ ...init, ...(metrics && { metrics }) });
    this.#connection = connection;
    connection.closed.then((reason) => this.#ended(reason)).catch((error) => this.abort(error));
  }

  #ended(reason: CloseReason): void {
    if (this.status === 'aborted' || this.status === 'reset' || this.status === 'closed') return;
    if (reason.by === 'local' || (reason.by === 'remote' && reason.code === 0)) {
      this.onTransportClosed();
    } else if (reason.by === 'timeout') this.abort(new TimeoutError(describeClose(reason)));
    else {
      const error = new ConnectionFailedError(describeClose(reason));
      this.abort(Object.assign(error, { closeCode: reason.code }));
    }
  }

  /**
   * Called by `traffic` to report bytes that a stream has sent: js-libp2p's metrics wrap this method. Nothing is sent.
   *
   * @throws when anybody else calls it.
   */
  override send(data: Parameters<AbstractMultiaddrConnection['send']>[0]): boolean {
    return this.#counting ? true : super.send(data);
  }

  override sendData(): never {
    throw new Error('a QUIC connection carries bytes in its streams only');
  }

  readonly traffic: Traffic = {
    sent: (bytes) => {
      this.#counting = true;
      try {
        this.send(bytes);
      } finally {
        this.#counting = false;
      }
    },
    // Metrics wrap `dispatchEvent()`.
    received: (bytes) => void this.dispatchEvent(new StreamMessageEvent(bytes)),
  };

  override sendReset(error: Error): void {
    // Never rejects.
    void this.#connection.close(resetCodeOf(error));
  }

  /** Nothing to do: QUIC's flow control pauses each stream. */
  override sendPause(): void {}

  override sendResume(): void {}

  override async sendClose(): Promise<void> {
    await this.#connection.close(0);
  }
}
