/** The end of a run: what it opened is closed, but not waited for without limit. */

import { withDeadline } from '../deadline.ts';
import { messageOf } from '../errors.ts';

/** How long closing may take, ms: js-libp2p's `stop()` has no time limit of its own. */
const CLOSE_TIMEOUT = 5_000;

/**
 * Runs `close` and waits for it, up to {@link CLOSE_TIMEOUT}. Never rejects: whether a run passed does not
 * depend on how its node closes.
 *
 * @param what names it in the line that `note` is given when it takes too long or fails.
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
