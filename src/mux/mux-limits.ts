/** Limits of yamux and mplex. In a file of its own, as they are checked before a muxer is loaded. */

import { DEFAULT_MEMORY_LIMITS, MEMORY_RANGES, type MemoryLimits } from '../connection-memory.ts';
import {
  type LimitRanges,
  MAX_BYTES,
  MAX_COUNT,
  MAX_STREAMS,
  MAX_TIMEOUT,
} from '../limit-ranges.ts';

/** Limits of one connection's muxer. */
export interface MuxLimits extends MemoryLimits {
  /** Streams that the peer may have open at once, default 1,024; further ones are reset. */
  readonly maxStreams: number;
  /** Streams that the peer opened and that wait for `acceptStream()`, default 256; further ones are reset. */
  readonly acceptBacklog: number;
  /**
   * yamux: the size that a stream's receive window may grow to, bytes, default 16 MiB. It starts at 256 KiB, and never
   * exceeds half of the connection's unread share (`ConnectionMemory.unreadShare`).
   */
  readonly maxWindow: number;
  /** yamux: by how many bytes the windows of all streams together may grow, default 64 MiB; the same bound applies. */
  readonly windowBudget: number;
  /** mplex: unread bytes of one stream, default 1 MiB, above which the whole connection is not read any further. */
  readonly streamBuffer: number;
  /**
   * How long unread bytes may keep the connection from being read, milliseconds, default 5,000; then the streams with
   * the most of them are reset.
   */
  readonly slowReaderTimeout: number;
}

export const DEFAULT_MUX_LIMITS: MuxLimits = {
  ...DEFAULT_MEMORY_LIMITS,
  maxStreams: 1_024,
  acceptBacklog: 256,
  maxWindow: 16 << 20,
  windowBudget: 64 << 20,
  streamBuffer: 1 << 20,
  slowReaderTimeout: 5_000,
};

export const MUX_RANGES: LimitRanges<MuxLimits> = {
  ...MEMORY_RANGES,
  maxStreams: [1, MAX_STREAMS],
  acceptBacklog: [1, MAX_COUNT],
  // A window of yamux is a number of 32 bits.
  maxWindow: [1, 2 ** 32 - 1],
  windowBudget: [0, MAX_BYTES],
  streamBuffer: [1, MAX_BYTES],
  slowReaderTimeout: [1, MAX_TIMEOUT],
};
