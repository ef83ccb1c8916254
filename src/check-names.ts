/** Checks names that a user gives in options: of engines, secure channels and muxers. */

import { LeanError } from './errors.ts';
import { quote } from './printable.ts';

/**
 * Checks that `names` is not empty and contains only names that are in `known`.
 *
 * @param what the kind of thing that has these names, for error messages: `muxer`.
 * @throws ERR_OPTIONS
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
    `there is no ${what} ${quote(String(unknown), 64)}; choose from: ${may}`,
  );
};
