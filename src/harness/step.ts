/** A step of a test, named in the error when it fails. */

import { orAborted } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';

/**
 * `work`, or the reason of `signal`, whichever comes first; names the step in whatever goes wrong with it.
 *
 * @throws a LeanError with the code of what went wrong, or ERR_DIAL where that has none.
 */
export const during = async <T>(
  step: string,
  signal: AbortSignal,
  work: Promise<T>,
): Promise<T> => {
  try {
    return await orAborted(work, signal);
  } catch (error) {
    const { reason } = signal;
    if (reason instanceof LeanError) throw new LeanError(reason.code, `${reason.message}, ${step}`);
    const code = error instanceof LeanError ? error.code : 'ERR_DIAL';
    throw new LeanError(code, `${step}: ${messageOf(error)}`, { cause: error });
  }
};
