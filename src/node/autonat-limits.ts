/** What an AutoNAT server does for its clients: the limits that its user can set. */

import { LeanError } from '../errors.ts';

/** Of both versions of the protocol together. Defaults as go-libp2p's; what is beyond them is rejected. */
export interface AutonatLimits {
  /** Requests in a minute: 60. */
  readonly requestsPerMinute: number;
  /** Requests of one peer in a minute: 12. */
  readonly requestsPerMinutePerPeer: number;
  /** Requests of one peer at once: 2. */
  readonly requestsAtOncePerPeer: number;
  /** Dials of hosts other than the one that asks, in a minute: 12. Each costs its client 30,000 bytes or more. */
  readonly otherHostsPerMinute: number;
  /** Milliseconds that a dial may take until the address counts as not reachable: 10,000. At most that. */
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

const isLimit = (name: string): name is keyof AutonatLimits =>
  Object.hasOwn(DEFAULT_AUTONAT_LIMITS, name);

/** @returns all of them. @throws ERR_OPTIONS for a limit that is unknown or out of range. */
export const autonatLimitsOf = (given: Partial<AutonatLimits>): AutonatLimits => {
  for (const [name, value] of Object.entries(given)) {
    if (!isLimit(name)) throw new LeanError('ERR_OPTIONS', `AutoNAT has no limit ${name}`);
    const most = name === 'dialTimeout' ? DEFAULT_AUTONAT_LIMITS.dialTimeout : MAX_COUNT;
    if (Number.isInteger(value) && value >= 0 && value <= most) continue;
    const may = `a whole number in 0 … ${most}`;
    throw new LeanError('ERR_OPTIONS', `AutoNAT's limit ${name} must be ${may}, not ${value}`);
  }
  return { ...DEFAULT_AUTONAT_LIMITS, ...given };
};
