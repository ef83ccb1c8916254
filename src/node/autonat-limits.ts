/** The limits of an AutoNAT server that its user can set. */

import { checkRanges, type LimitRanges } from '../limit-ranges.ts';

/**
 * For both versions of the protocol together. The defaults are go-libp2p's. Requests beyond a limit are rejected.
 */
export interface AutonatLimits {
  /** Requests in a minute, default 60. */
  readonly requestsPerMinute: number;
  /** Requests of one peer in a minute, default 12. */
  readonly requestsPerMinutePerPeer: number;
  /** Requests of one peer at the same time, default 2. */
  readonly requestsAtOncePerPeer: number;
  /** Dials to hosts other than the client's in a minute, default 12. Each costs the client 30,000 bytes or more. */
  readonly otherHostsPerMinute: number;
  /** A dial fails after this time; milliseconds, default 10,000, which is also the maximum. */
  readonly dialTimeout: number;
}

export const DEFAULT_AUTONAT_LIMITS: AutonatLimits = {
  requestsPerMinute: 60,
  requestsPerMinutePerPeer: 12,
  requestsAtOncePerPeer: 2,
  otherHostsPerMinute: 12,
  dialTimeout: 10_000,
};

const MAX_COUNT = 2 ** 16;

const RANGES: LimitRanges<AutonatLimits> = {
  requestsPerMinute: [0, MAX_COUNT],
  requestsPerMinutePerPeer: [0, MAX_COUNT],
  requestsAtOncePerPeer: [0, MAX_COUNT],
  otherHostsPerMinute: [0, MAX_COUNT],
  dialTimeout: [0, DEFAULT_AUTONAT_LIMITS.dialTimeout],
};

/** Completes `given` with the defaults. @throws ERR_OPTIONS for a limit that is unknown or out of range. */
export const autonatLimitsOf = (given: Partial<AutonatLimits>): AutonatLimits => ({
  ...DEFAULT_AUTONAT_LIMITS,
  ...checkRanges(given, RANGES, 'an AutoNAT server'),
});
