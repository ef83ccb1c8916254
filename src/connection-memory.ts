/**
 * What one connection makes this node hold: one account for each, kept alike by every stack.
 *
 * Counted are bytes received that nobody has read, bytes written that the peer has not taken, and a
 * fixed estimate for each open stream. Three things happen as it grows:
 *
 * 1. Back-pressure. A connection whose unread bytes pass {@link ConnectionMemory.unreadShare}, or that
 *    has almost reached its limit, is not read on (QUIC: its windows are no larger); one whose unsent
 *    bytes pass {@link ConnectionMemory.unsentShare} has writers wait in `drain()`. A peer that keeps
 *    to what it is granted gets no further.
 * 2. Who does not go on is reset: a stream whose writer waits for `stallTimeout` while the peer takes
 *    nothing (stream/stall-watch.ts), and a stream that nobody reads while it holds up its connection.
 * 3. Above {@link MemoryLimits.connectionMemory} the connection is closed, with
 *    {@link CONN_RESOURCE_LIMIT_EXCEEDED}.
 *
 * Not counted is what a connection costs that has no streams (TLS, the socket's buffers: below 1 MiB),
 * and chunks of which a part is counted: they are kept whole, up to four times as large
 * (stream/byte-queue.ts).
 */

import type { CloseReason } from './close-reason.ts';

export interface MemoryLimits {
  /**
   * Bytes that one connection may make this node hold. A connection that passes them is closed. Nine
   * sixteenths of them are for what was received and not read, a quarter for what was not sent.
   */
  readonly connectionMemory: number;
  /** Milliseconds that a writer may wait in `drain()` while its peer takes nothing, until the stream is reset. */
  readonly stallTimeout: number;
}

export const DEFAULT_MEMORY_LIMITS: MemoryLimits = {
  connectionMemory: 16 << 20,
  stallTimeout: 30_000,
};

/** go-libp2p's error codes ConnResourceLimitExceeded and StreamResourceLimitExceeded. */
export const CONN_RESOURCE_LIMIT_EXCEEDED = 0x1001;
export const STREAM_RESOURCE_LIMIT_EXCEEDED = 0x1002;

/** The part of `connectionMemory` that may be received and not read; QUIC's windows keep to it. */
export const unreadShareOf = (connectionMemory: number): number =>
  Math.floor((connectionMemory * 9) / 16);

/** The account of one connection. */
export class ConnectionMemory {
  readonly limit: number;
  /** Bytes received and not read above which the connection is not read on. */
  readonly unreadShare: number;
  /** Bytes not sent above which writers that have some of them wait. */
  readonly unsentShare: number;
  /** The most that was ever held. */
  peak = 0;

  readonly #streamBytes: number;
  readonly #almost: number;
  readonly #onPassed: () => void;
  #streams = 0;
  #unread = 0;
  #unsent = 0;
  #passed = false;

  /**
   * @param limit bytes: `connectionMemory`.
   * @param streamBytes what an open stream costs beside its bytes.
   * @param onPassed called once, in a later microtask, when the limit is passed: must close the connection.
   */
  constructor(limit: number, streamBytes: number, onPassed: () => void) {
    this.limit = limit;
    this.unreadShare = unreadShareOf(limit);
    this.unsentShare = Math.floor(limit / 4);
    this.#almost = Math.floor((limit * 15) / 16);
    this.#streamBytes = streamBytes;
    this.#onPassed = onPassed;
  }

  /** Bytes held now. */
  get held(): number {
    return this.#unread + this.#unsent + this.#streams * this.#streamBytes;
  }

  /** Open streams. */
  get streams(): number {
    return this.#streams;
  }

  /** Bytes received and not read. */
  get unread(): number {
    return this.#unread;
  }

  /** Bytes written and not sent; where the stack can tell, not acknowledged. */
  get unsent(): number {
    return this.#unsent;
  }

  /** Streams were opened, or closed if negative. */
  addStreams(count: number): void {
    this.#streams += count;
    if (count > 0) this.#grew();
  }

  /** Bytes came in, or were read if negative. */
  addUnread(bytes: number): void {
    this.#unread += bytes;
    if (bytes > 0) this.#grew();
  }

  /** Bytes were written, or taken if negative. */
  addUnsent(bytes: number): void {
    this.#unsent += bytes;
    if (bytes > 0) this.#grew();
  }

  /** Whether nothing more should be taken in. */
  get isFull(): boolean {
    return this.#unread > this.unreadShare || this.held > this.#almost;
  }

  /** Whether a stream that has `pending` bytes to send may be given more. */
  mayWrite(pending: number): boolean {
    return pending === 0 || this.#unsent < this.unsentShare;
  }

  #grew(): void {
    const { held } = this;
    if (held <= this.peak) return;
    this.peak = held;
    if (held <= this.limit || this.#passed) return;
    this.#passed = true;
    queueMicrotask(this.#onPassed);
  }
}

/** Why a connection is closed that passed its limit. */
export const tooMuchMemory = (limit: number): CloseReason => ({
  by: 'local',
  code: CONN_RESOURCE_LIMIT_EXCEEDED,
  application: true,
  reason: `more than ${limit} bytes are held for this connection (connectionMemory)`,
});
