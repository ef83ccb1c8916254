/** Checks the limits that a user sets: each must be a whole number within its range. */

import { LeanError } from './errors.ts';

/** The range of each limit, inclusive. Where the upper end is `Infinity`, that value is allowed, too. */
export type LimitRanges<Limits> = Readonly<
  Record<keyof Limits, readonly [least: number, most: number]>
>;

/** Milliseconds: the longest timer of Node.js. */
export const MAX_TIMEOUT = 2 ** 31 - 1;
/** Of connections, handshakes and the like. */
export const MAX_COUNT = 2 ** 32;
/** Of streams of one peer on one connection. */
export const MAX_STREAMS = 2 ** 16;
/** Bytes of memory. */
export const MAX_BYTES = 2 ** 40;

/**
 * @param whose names the owner of the limits in error messages: `a relay`.
 * @returns `given`.
 * @throws ERR_OPTIONS for a limit that is unknown or out of range.
 */
export const checkRanges = <Limits extends object>(
  given: Partial<Limits>,
  ranges: LimitRanges<Limits>,
  whose: string,
): Partial<Limits> => {
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(ranges, name)) {
      throw new LeanError('ERR_OPTIONS', `${whose} has no limit ${name}`);
    }
    const [least, most] = ranges[name as keyof Limits];
    const isNumber = Number.isInteger(value) || value === Number.POSITIVE_INFINITY;
    if (isNumber && Number(value) >= least && Number(value) <= most) continue;
    const may = `a whole number in ${least} … ${most}`;
    throw new LeanError('ERR_OPTIONS', `${whose}: the limit ${name} must be ${may}, not ${value}`);
  }
  return given;
};
