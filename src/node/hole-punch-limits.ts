/** What a peer can make a hole punch send to addresses that it names: the limits that a user can set. */

import { checkRanges, type LimitRanges } from './limit-ranges.ts';

/**
 * A peer behind a relay says where it is to be dialled, and may name somebody else. A host is an IPv4 address or an
 * IPv6 /56.
 */
export interface HolePunchLimits {
  /** Hosts of a peer that are dialled: 3. Those that it names after them are not. */
  readonly maxHosts: number;
  /**
   * Dials of one host in an attempt: 8. Its addresses share them; those that there is none left for are not dialled.
   * A relayed connection gets three attempts.
   */
  readonly maxDialsPerHost: number;
  /** Hole punches at once: 32. Relayed connections that come then stay relayed. */
  readonly maxPunches: number;
}

export const DEFAULT_HOLE_PUNCH_LIMITS: HolePunchLimits = {
  maxHosts: 3,
  maxDialsPerHost: 8,
  maxPunches: 32,
};

const RANGES: LimitRanges<HolePunchLimits> = {
  maxHosts: [1, 8],
  maxDialsPerHost: [1, 256],
  maxPunches: [1, 2 ** 16],
};

/** @returns all of them. @throws ERR_OPTIONS for a limit that is unknown or out of range. */
export const holePunchLimitsOf = (given: Partial<HolePunchLimits>): HolePunchLimits => ({
  ...DEFAULT_HOLE_PUNCH_LIMITS,
  ...checkRanges(given, RANGES, 'hole punching'),
});
