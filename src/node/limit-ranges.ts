/** Checks limits that a user sets: each is an integer within a range. */

import { LeanError } from '../errors.ts';

/** The range of each limit, inclusive. */
export type LimitRanges<Limits> = Readonly<
  Record<keyof Limits, readonly [least: number, most: number]>
>;

/** The longest timer of Node.js, milliseconds. */
export const MAX_TIMEOUT = 2 ** 31 - 1;

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
    if (Number.isInteger(value) && Number(value) >= least && Number(value) <= most) continue;
    const may = `a whole number in ${least} … ${most}`;
    throw new LeanError('ERR_OPTIONS', `${whose}: the limit ${name} must be ${may}, not ${value}`);
  }
  return given;
};
