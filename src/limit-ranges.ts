/** Checks limits that a user sets: each is a whole number within a range. */

import { LeanError } from './errors.ts';

/** The range of each limit, inclusive. `Infinity` as the end of one: that, too, or any whole number. */
export type LimitRanges<Limits> = Readonly<
  Record<keyof Limits, readonly [least: number, most: number]>
>;

/** The longest timer of Node.js, milliseconds. */
export const MAX_TIMEOUT = 2 ** 31 - 1;
/** The most of anything that is counted. */
export const MAX_COUNT = 2 ** 32;
/** The most streams of one peer on one connection. */
export const MAX_STREAMS = 2 ** 16;
/** The most memory, bytes. */
export const MAX_BYTES = 2 ** 40;

/**
 * @param whose names the owner of the limits in errors: `a relay`.
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
