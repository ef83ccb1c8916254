/**
 * Accounts for the memory that one connection uses, in the same way for every stack.
 *
 * It counts bytes received but not read, bytes written but not taken by the peer, and a fixed estimate
 * for each open stream. Three things happen as the total grows:
 *
 * 1. Back-pressure. A connection whose unread bytes pass {@link ConnectionMemory.unreadShare}, or that
 *    has almost reached its limit, is not read any further (QUIC: its windows do not allow more); once unsent
 *    bytes pass {@link ConnectionMemory.unsentShare}, writers wait in `drain()`. A peer that respects flow
 *    control gets no further.
 * 2. Stalled streams are reset: one whose writer waits for `stallTimeout` while the peer takes
 *    nothing (stream/stall-watch.ts), and one that nobody reads while it blocks its connection.
 * 3. Above {@link MemoryLimits.connectionMemory} the connection is closed, with
 *    {@link CONN_RESOURCE_LIMIT_EXCEEDED}.
 *
 * Not counted are the cost of a connection without streams (TLS, socket buffers: below 1 MiB), and the rest of
 * the buffer that a counted chunk is a view of, which may be up to four times as large (stream/byte-queue.ts).
 */

import type { CloseReason } from './close-reason.ts';
import { type LimitRanges, MAX_BYTES, MAX_TIMEOUT } from './limit-ranges.ts';

export interface MemoryLimits {
  /**
   * Bytes of memory that one connection may use, default 16 MiB; above, the connection is closed. Nine sixteenths
   * of it are for bytes received but not read, a quarter for bytes not sent yet.
   */
  readonly connectionMemory: number;
  /** Milliseconds that a writer may wait in `drain()` while its peer takes nothing, default 30,000; then the stream is reset. */
  readonly stallTimeout: number;
}

export const DEFAULT_MEMORY_LIMITS: MemoryLimits = {
  connectionMemory: 16 << 20,
  stallTimeout: 30_000,
};

export const MEMORY_RANGES: LimitRanges<MemoryLimits> = {
  // With less, even a few streams could not make progress.
  connectionMemory: [1 << 20, MAX_BYTES],
  stallTimeout: [1, MAX_TIMEOUT],
};

/** go-libp2p's error codes ConnResourceLimitExceeded and StreamResourceLimitExceeded. */
export const CONN_RESOURCE_LIMIT_EXCEEDED = 0x1001;
export const STREAM_RESOURCE_LIMIT_EXCEEDED = 0x1002;

/** The part of `connectionMemory` for bytes received but not read, bytes. QUIC's windows stay below it. */
export const unreadShareOf = (connectionMemory: number): number =>
  Math.floor((connectionMemory * 9) / 16);

/** The memory account of one connection; all numbers but `streams` are bytes. */
export class ConnectionMemory {
  readonly limit: number;
  /** With more unread bytes than this, the connection is not read any further. */
  readonly unreadShare: number;
  /** With more unsent bytes than this, writers wait. */
  readonly unsentShare: number;
  /** The highest value of `held` so far. */
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
   * @param streamBytes the cost of an open stream without its data.
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

  /** Bytes received but not read. */
  get unread(): number {
    return this.#unread;
  }

  /** Bytes written but not sent; where the stack knows, but not acknowledged. */
  get unsent(): number {
    return this.#unsent;
  }

  /** Counts streams that were opened; negative: that were closed. */
  addStreams(count: number): void {
    this.#streams += count;
    if (count > 0) this.#grew();
  }

  /** Counts bytes that were received; negative: that were read. */
  addUnread(bytes: number): void {
    this.#unread += bytes;
    if (bytes > 0) this.#grew();
  }

  /** Counts bytes that were written; negative: that were sent. */
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

/** The reason given when a connection is closed for exceeding its limit. */
export const tooMuchMemory = (limit: number): CloseReason => ({
  by: 'local',
  code: CONN_RESOURCE_LIMIT_EXCEEDED,
  application: true,
  reason: `more than ${limit} bytes are held for this connection (connectionMemory)`,
});
