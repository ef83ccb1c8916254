/** The limits of transports over sockets: of the upgrade, and of the muxers. */

import { ADMISSION_RANGES, type AdmissionLimits, DEFAULT_ADMISSION_LIMITS } from '../admission.ts';
import { MEMORY_RANGES } from '../connection-memory.ts';
import {
  checkRanges,
  type LimitRanges,
  MAX_BYTES,
  MAX_COUNT,
  MAX_STREAMS,
  MAX_TIMEOUT,
} from '../limit-ranges.ts';
import type { MuxLimits } from '../mux/muxer.ts';

/** Limits of a transport. */
export interface UpgradeLimits extends AdmissionLimits {
  /** How long the upgrade of one connection may take; milliseconds. */
  readonly handshakeTimeout: number;
  /**
   * How long a connection may be without a byte in either direction until it is closed; milliseconds.
   * `Infinity`: only the kernel's TCP keep-alive probes detect a dead peer.
   */
  readonly idleTimeout: number;
}

export const DEFAULT_UPGRADE_LIMITS: UpgradeLimits = {
  ...DEFAULT_ADMISSION_LIMITS,
  handshakeTimeout: 10_000,
  idleTimeout: Number.POSITIVE_INFINITY,
};

const RANGES: LimitRanges<UpgradeLimits & MuxLimits> = {
  ...ADMISSION_RANGES,
  ...MEMORY_RANGES,
  handshakeTimeout: [1, MAX_TIMEOUT],
  idleTimeout: [1, Number.POSITIVE_INFINITY],
  maxStreams: [1, MAX_STREAMS],
  acceptBacklog: [1, MAX_COUNT],
  // A window of yamux is a number of 32 bits.
  maxWindow: [1, 2 ** 32 - 1],
  windowBudget: [0, MAX_BYTES],
  streamBuffer: [1, MAX_BYTES],
  slowReaderTimeout: [1, MAX_TIMEOUT],
};

/** @throws ERR_OPTIONS for a limit that is unknown or out of range. */
export const checkUpgradeLimits = (given: Partial<UpgradeLimits & MuxLimits> = {}): void =>
  void checkRanges(given, RANGES, 'a transport');
