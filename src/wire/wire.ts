/**
 * A whole connection as one byte stream, before it is multiplexed: a TCP socket, a TLS socket, a
 * WebSocket, a stream through a relay, or Noise over any of them.
 */

import type { Socket } from 'node:net';
import type { Stream } from '../stream.ts';

export interface Wire extends Stream {
  /**
   * Ends the connection: what was written is sent first; what still arrives is discarded. Resolves
   * when everything has been sent, when the connection is gone, or after {@link LINGER} ms.
   * Idempotent; never rejects.
   */
  close(): Promise<void>;

  /**
   * Gives the wrapped socket back, paused, without listeners, and with received but unread bytes still in it: for
   * `node:tls`, which takes over the socket underneath. Only wires of sockets have it. Afterwards only `reset()` may be
   * called, which destroys the socket.
   */
  detach?(): Socket;
}

/** How long a closing connection may take to send its last bytes and to receive the peer's end; milliseconds. */
export const LINGER = 1_000;

/** With this many bytes queued for sending, writers must wait. */
export const WRITE_HIGH_WATER = 256 << 10;
