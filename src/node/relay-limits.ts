/** The limits of a relay that its user can set. */

import { checkRanges, type LimitRanges, MAX_TIMEOUT } from '../limit-ranges.ts';

/**
 * The defaults are those of go-libp2p and rust-libp2p where they agree. Requests beyond a limit are refused. There is no
 * limit per host for loopback.
 */
export interface RelayLimits {
  /** Reservations at the same time, one per peer; default 128. */
  readonly maxReservations: number;
  /** Reservations of one host (an IPv4 address or an IPv6 /56), default 8. */
  readonly maxReservationsPerHost: number;
  /** How long a reservation is valid; milliseconds, default 3,600,000. Clients renew it before it expires. */
  readonly reservationTime: number;
  /** Circuits at the same time, default 1,024. */
  readonly maxCircuits: number;
  /** Circuits at the same time from one peer, and to one peer; default 16 each. */
  readonly maxCircuitsPerPeer: number;
  /** Circuits at once that peers of one host ask for, default 64. */
  readonly maxCircuitsPerHost: number;
  /** Those of them to one peer, default 8: no host alone takes all that may lead there. */
  readonly maxCircuitsPerHostToPeer: number;
  /** A circuit is reset after this time; milliseconds, default 120,000; 0: no limit. */
  readonly circuitTime: number;
  /** A circuit is reset when it has carried more bytes in one direction; default 131,072; 0: no limit. */
  readonly circuitData: number;
}

export const DEFAULT_RELAY_LIMITS: RelayLimits = {
  maxReservations: 128,
  maxReservationsPerHost: 8,
  reservationTime: 3_600_000,
  maxCircuits: 1_024,
  maxCircuitsPerPeer: 16,
  maxCircuitsPerHost: 64,
  maxCircuitsPerHostToPeer: 8,
  circuitTime: 120_000,
  circuitData: 128 << 10,
};

const MAX_COUNT = 2 ** 20;

const RANGES: LimitRanges<RelayLimits> = {
  maxReservations: [0, MAX_COUNT],
  maxReservationsPerHost: [0, MAX_COUNT],
  reservationTime: [1_000, MAX_TIMEOUT],
  maxCircuits: [0, MAX_COUNT],
  maxCircuitsPerPeer: [0, MAX_COUNT],
  maxCircuitsPerHost: [0, MAX_COUNT],
  maxCircuitsPerHostToPeer: [0, MAX_COUNT],
  circuitTime: [0, MAX_TIMEOUT],
  circuitData: [0, 2 ** 48],
};

export const isRelayLimit = (name: string): name is keyof RelayLimits =>
  Object.hasOwn(RANGES, name);

/** Completes `given` with the defaults. @throws ERR_OPTIONS for a limit that is unknown or out of range. */
export const relayLimitsOf = (given: Partial<RelayLimits>): RelayLimits => ({
  ...DEFAULT_RELAY_LIMITS,
  ...checkRanges(given, RANGES, 'a relay'),
});
