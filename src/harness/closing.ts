/** Closes what a run has opened, within a time limit. */

import { withDeadline } from '../deadline.ts';
import { messageOf } from '../errors.ts';

/** How long closing may take; milliseconds. js-libp2p's `stop()` has no time limit of its own. */
const CLOSE_TIMEOUT = 5_000;

/**
 * Runs `close` and waits for it, up to {@link CLOSE_TIMEOUT}. Never rejects: whether a run passed does not
 * depend on how its node closes.
 *
 * @param what names what is closed, in the line for `note` when that takes too long or fails.
 */
export const closeInTime = async (
  what: string,
  close: () => unknown,
  note: (line: string) => void,
): Promise<void> => {
  const closing = (async () => close())();
  await withDeadline(closing, CLOSE_TIMEOUT, `closing ${what}`).catch((error: unknown) =>
    note(messageOf(error)),
  );
};
