/** The limits of a relay that its user can set. */

import { checkRanges, type LimitRanges, MAX_TIMEOUT } from '../limit-ranges.ts';

/** Defaults are those of go-libp2p and rust-libp2p where they agree. There is no limit per host for loopback. */
export interface RelayLimits {
  /** Reservations at once, one per peer: 128. Further ones are refused. */
  readonly maxReservations: number;
  /** Those of one host (an IPv4 address or an IPv6 /56): 8. */
  readonly maxReservationsPerHost: number;
  /** Milliseconds for which a reservation is valid: 3,600,000. Clients renew it before. */
  readonly reservationTime: number;
  /** Circuits at once: 1,024. */
  readonly maxCircuits: number;
  /** Circuits at once from one peer, and to one peer: 16 each. */
  readonly maxCircuitsPerPeer: number;
  /** How long a circuit may last until it is reset, milliseconds: 120,000; 0: no limit. */
  readonly circuitTime: number;
  /** Bytes that a circuit may carry in each direction until it is reset: 131,072; 0: no limit. */
  readonly circuitData: number;
}

export const DEFAULT_RELAY_LIMITS: RelayLimits = {
  maxReservations: 128,
  maxReservationsPerHost: 8,
  reservationTime: 3_600_000,
  maxCircuits: 1_024,
  maxCircuitsPerPeer: 16,
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
  circuitTime: [0, MAX_TIMEOUT],
  circuitData: [0, 2 ** 48],
};

export const isRelayLimit = (name: string): name is keyof RelayLimits =>
  Object.hasOwn(RANGES, name);

/** @returns all of them. @throws ERR_OPTIONS for a limit that is unknown or out of range. */
export const relayLimitsOf = (given: Partial<RelayLimits>): RelayLimits => ({
  ...DEFAULT_RELAY_LIMITS,
  ...checkRanges(given, RANGES, 'a relay'),
});
