/** The limits of transports that upgrade sockets. */

import { ADMISSION_RANGES, type AdmissionLimits, DEFAULT_ADMISSION_LIMITS } from '../admission.ts';
import { checkRanges, type LimitRanges, MAX_TIMEOUT } from '../limit-ranges.ts';
import { MUX_RANGES, type MuxLimits } from '../mux/mux-limits.ts';

/** Limits of the upgrade, and of its listeners' admission control. */
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
  ...MUX_RANGES,
  handshakeTimeout: [1, MAX_TIMEOUT],
  idleTimeout: [1, Number.POSITIVE_INFINITY],
};

/** @throws ERR_OPTIONS for a limit that is unknown or out of range. */
export const checkUpgradeLimits = (given: Partial<UpgradeLimits & MuxLimits> = {}): void =>
  void checkRanges(given, RANGES, 'a transport');

/** Those of the muxers. */
export const muxLimitsOf = (given: Partial<UpgradeLimits & MuxLimits>): Partial<MuxLimits> =>
  Object.fromEntries(Object.entries(given).filter(([name]) => Object.hasOwn(MUX_RANGES, name)));
