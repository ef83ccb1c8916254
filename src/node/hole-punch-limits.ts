/** The limits of hole punching that a user can set. */

import { checkRanges, type LimitRanges } from '../limit-ranges.ts';

/**
 * A peer sends the addresses at which it is to be dialled, and may send those of somebody else. A host is an IPv4
 * address or an IPv6 /56.
 */
export interface HolePunchLimits {
  /** Hosts that are dialled for one peer: 3. Further ones are not. */
  readonly maxHosts: number;
  /**
   * Dials of one host in an attempt: 8, divided among its addresses. A relayed connection gets three attempts.
   */
  readonly maxDialsPerHost: number;
  /**
   * Times in a minute that a host is dialled for any peer: 16. A relayed connection takes one for the addresses that
   * the peer's identify message names, and one for each attempt. Beyond that the host is not dialled.
   */
  readonly attemptsPerMinutePerHost: number;
  /** Hole punches at once that this node initiates: 32. Relayed connections beyond that stay relayed. */
  readonly maxPunches: number;
  /** The same, begun in a minute: 60. */
  readonly punchesPerMinute: number;
  /** The same, with one peer: 6. */
  readonly punchesPerMinutePerPeer: number;
}

export const DEFAULT_HOLE_PUNCH_LIMITS: HolePunchLimits = {
  maxHosts: 3,
  maxDialsPerHost: 8,
  attemptsPerMinutePerHost: 16,
  maxPunches: 32,
  punchesPerMinute: 60,
  punchesPerMinutePerPeer: 6,
};

const MAX_COUNT = 2 ** 16;

const RANGES: LimitRanges<HolePunchLimits> = {
  maxHosts: [1, 8],
  maxDialsPerHost: [1, 256],
  attemptsPerMinutePerHost: [1, MAX_COUNT],
  maxPunches: [1, MAX_COUNT],
  punchesPerMinute: [1, MAX_COUNT],
  punchesPerMinutePerPeer: [1, MAX_COUNT],
};

/** Completes `given` with the defaults. @throws ERR_OPTIONS for a limit that is unknown or out of range. */
export const holePunchLimitsOf = (given: Partial<HolePunchLimits>): HolePunchLimits => ({
  ...DEFAULT_HOLE_PUNCH_LIMITS,
  ...checkRanges(given, RANGES, 'hole punching'),
});
