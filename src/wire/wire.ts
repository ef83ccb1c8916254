/**
 * A whole connection as one byte stream, before it is multiplexed: a TCP socket, a TLS socket, a
 * WebSocket, or Noise over any of them.
 */

import type { Socket } from 'node:net';
import type { Stream } from '../stream.ts';

export interface Wire extends Stream {
  /**
   * Ends the connection: what was written leaves first, what still comes in is discarded. Resolves
   * when it has left this machine, when the connection is gone, or after {@link LINGER} ms.
   * Idempotent; never rejects.
   */
  close(): Promise<void>;

  /**
   * Of a socket's wire: hands the socket back, paused and without listeners, with what was received
   * but not read still in it. For `node:tls`, which takes over the socket underneath. The wire is of
   * no use afterwards; its `reset()` still destroys the socket.
   */
  detach?(): Socket;
}

/** Milliseconds that a closing connection gets to send its last bytes and to hear the peer's end. */
export const LINGER = 1_000;

/** Bytes queued for sending above which writers are told to wait. */
export const WRITE_HIGH_WATER = 256 << 10;
/** Bytes received and not yet read above which the socket is paused. */
export const READ_HIGH_WATER = 256 << 10;
