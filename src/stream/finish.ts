/** The end of a stream that has served its purpose. */

import { withDeadline } from '../deadline.ts';
import type { Stream } from '../stream.ts';

/** Milliseconds that the peer gets to close its side. */
const END_TIMEOUT = 10_000;

/**
 * Closes our side of a stream of ours whose answer was read. If the peer sends more, or has not closed its side after
 * 10 s, the stream is reset: it would stay open as long as the connection. Does not wait; never throws.
 */
export const finish = (stream: Stream): void => {
  const reset = (): void => stream.reset();
  stream.closeWrite();
  withDeadline(stream.read(), END_TIMEOUT, 'the end of a stream').then((more) => {
    if (more !== null) reset();
  }, reset);
};
