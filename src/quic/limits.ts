/** The limits of QUIC connections and listeners. */

import { ADMISSION_RANGES, type AdmissionLimits, DEFAULT_ADMISSION_LIMITS } from '../admission.ts';
import {
  DEFAULT_MEMORY_LIMITS,
  MEMORY_RANGES,
  type MemoryLimits,
  unreadShareOf,
} from '../connection-memory.ts';
import {
  checkRanges,
  type LimitRanges,
  MAX_BYTES,
  MAX_COUNT,
  MAX_STREAMS,
  MAX_TIMEOUT,
} from '../limit-ranges.ts';

/**
 * Limits of a listener, where a handshake in progress counts as a pending connection, and of one
 * connection; bytes and milliseconds. Keep-alive is off in every engine.
 */
export interface QuicLimits extends AdmissionLimits, MemoryLimits {
  /**
   * How long a handshake may take at a listener, and in a dial without a `signal`; go-libp2p's value. With
   * 5 s, one handshake in six failed on a path that loses a fifth of all packets.
   */
  readonly handshakeTimeout: number;
  /** How long a connection may be silent before it is dropped, without CONNECTION_CLOSE. */
  readonly idleTimeout: number;
  /** Receive window of one stream; at most two thirds of the connection's window. */
  readonly streamWindow: number;
  /**
   * Receive window of the connection; never larger than the share of `connectionMemory` that may be
   * unread. `node:quic` has none: node/session-options.ts says why.
   */
  readonly connectionWindow: number;
  /** Bidirectional streams that the peer may have open at once; unidirectional ones: none. */
  readonly maxStreams: number;
  /** Pending handshakes above which a client must validate its address first (Retry). */
  readonly retryAbove: number;
}

/** go-libp2p's and rust-libp2p's values where they agree. */
export const DEFAULT_LIMITS: QuicLimits = {
  ...DEFAULT_ADMISSION_LIMITS,
  ...DEFAULT_MEMORY_LIMITS,
  handshakeTimeout: 10_000,
  idleTimeout: 30_000,
  streamWindow: 10 << 20,
  connectionWindow: 15 << 20,
  maxStreams: 256,
  retryAbove: 64,
};

/**
 * The receive windows that an engine announces, in bytes. A stream's window is smaller than its
 * connection's: otherwise one stream could block all others, and `node:quic` (24.21) as the sender stalls for
 * good when it reaches both limits at the same byte.
 */
export const windowsOf = (limits: QuicLimits): { stream: number; connection: number } => {
  const connection = Math.min(limits.connectionWindow, unreadShareOf(limits.connectionMemory));
  return { stream: Math.min(limits.streamWindow, Math.floor((connection * 2) / 3)), connection };
};

const RANGES: LimitRanges<QuicLimits> = {
  ...ADMISSION_RANGES,
  ...MEMORY_RANGES,
  handshakeTimeout: [1, MAX_TIMEOUT],
  idleTimeout: [1, MAX_TIMEOUT],
  streamWindow: [1, MAX_BYTES],
  connectionWindow: [1, MAX_BYTES],
  maxStreams: [1, MAX_STREAMS],
  retryAbove: [0, MAX_COUNT],
};

/** @returns what was given, and for the rest the defaults. @throws ERR_OPTIONS for a limit that is unknown or out of range. */
export const quicLimitsOf = (given: Partial<QuicLimits> = {}): QuicLimits => ({
  ...DEFAULT_LIMITS,
  ...checkRanges(given, RANGES, 'QUIC'),
});

/** Milliseconds that the handshake of a dial may take; `Infinity`: until its signal fires. */
export const handshakeLimitOf = (
  { signal }: { readonly signal?: AbortSignal },
  limits: QuicLimits,
): number => (signal === undefined ? limits.handshakeTimeout : Number.POSITIVE_INFINITY);
