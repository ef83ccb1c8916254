/** Closes a stream after a request and its answer. */

import { withDeadline } from '../deadline.ts';
import type { Stream } from '../stream.ts';

/** How long the peer may take to close its side; milliseconds. */
const END_TIMEOUT = 10_000;

/**
 * Closes our side of a stream that we opened, after the whole answer was read. If the peer sends more, or has not
 * closed its side after 10 s, the stream is reset: otherwise it could stay open as long as the connection. Does not
 * wait; never throws.
 */
export const finish = (stream: Stream): void => {
  const reset = (): void => stream.reset();
  stream.closeWrite();
  withDeadline(stream.read(), END_TIMEOUT, 'the end of a stream').then((more) => {
    if (more !== null) reset();
  }, reset);
};
