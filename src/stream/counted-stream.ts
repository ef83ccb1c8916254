/** A stream whose bytes are counted, for metrics. */

import type { Stream } from '../stream.ts';
import { iterate } from './iterate.ts';

/** `stream`, with `onSent` and `onReceived` called with the length of each chunk; bytes that are put back count once. */
export const countedStream = (
  stream: Stream,
  onSent: (bytes: number) => void,
  onReceived: (bytes: number) => void,
): Stream => {
  /** Bytes that were counted and put back. */
  let again = 0;
  const counted: Stream = {
    id: stream.id,
    read: async (into, signal) => {
      const chunk = await stream.read(into, signal);
      if (chunk !== null) {
        const fresh = Math.max(0, chunk.length - again);
        again -= chunk.length - fresh;
        onReceived(fresh);
      }
      return chunk;
    },
    unread: (chunk) => {
      again += chunk.length;
      stream.unread(chunk);
    },
    write: (chunk) => {
      const room = stream.write(chunk);
      onSent(chunk.length);
      return room;
    },
    drain: (signal) => stream.drain(signal),
    closeWrite: () => stream.closeWrite(),
    stopSending: (code) => stream.stopSending(code),
    reset: (code) => stream.reset(code),
    [Symbol.asyncIterator]: () => iterate(counted),
  };
  return counted;
};
