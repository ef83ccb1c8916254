/** Steps of a test: errors name the step that failed. */

import { orAborted } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';

/**
 * Settles as `work` does, or rejects when `signal` aborts, whichever comes first.
 *
 * @throws a LeanError whose message names `step`, with the code of the original error, or ERR_DIAL if that has none.
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
