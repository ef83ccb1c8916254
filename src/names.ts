/** Checks names that a user gives in options: of engines, secure channels, muxers. */

import { LeanError } from './errors.ts';
import { quote } from './printable.ts';

/**
 * @param what they are names of: `muxer`.
 * @throws ERR_OPTIONS when there is none, or one that is not `known`.
 */
export const checkNames = (
  what: string,
  names: readonly string[],
  known: readonly string[],
): void => {
  if (names.length === 0) throw new LeanError('ERR_OPTIONS', `no ${what} is given`);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const may = known.join(', ');
  throw new LeanError(
    'ERR_OPTIONS',
    `there is no ${what} ${quote(String(unknown), 64)}; these are: ${may}`,
  );
};
