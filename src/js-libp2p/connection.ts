/** A QUIC connection as js-libp2p's upgrader wants it. */

import {
  ConnectionFailedError,
  type CounterGroup,
  type Logger,
  TimeoutError,
} from '@libp2p/interface';
import { AbstractMultiaddrConnection } from '@libp2p/utils';
import type { Multiaddr } from '@multiformats/multiaddr';
import { type CloseReason, describeClose } from '../close-reason.ts';
import type { QuicConnection } from '../quic/engine.ts';
import { resetCodeOf } from './errors.ts';

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

  override sendData(): never {
    throw new Error('a QUIC connection carries bytes in its streams only');
  }

  override sendReset(error: Error): void {
    // Never rejects.
    void this.#connection.close(resetCodeOf(error));
  }

  /** QUIC's flow control does it, for each stream. */
  override sendPause(): void {}

  override sendResume(): void {}

  override async sendClose(): Promise<void> {
    await this.#connection.close(0);
  }
}
