/** A stream of one connection as the wire of another: circuits run over a stream to the relay. */

import { LeanError } from '../errors.ts';
import { iterate } from '../stream/iterate.ts';
import type { Stream } from '../stream.ts';
import { LINGER, type Wire } from './wire.ts';

export interface StreamWireOptions {
  /** The most bytes that the peer may send. With more, the stream is reset, and reading throws ERR_PROTOCOL_VIOLATION. */
  readonly maxReceived?: number;
  /** Called for every chunk that is received or sent. */
  readonly onActivity?: () => void;
}

export const streamWire = (
  stream: Stream,
  { maxReceived = Number.POSITIVE_INFINITY, onActivity }: StreamWireOptions = {},
): Wire => {
  let received = 0;
  let reading: Promise<Uint8Array | null> = Promise.resolve(null);
  let closing: Promise<void> | undefined;

  /** Reads to the end, so that the peer can finish. */
  const finish = async (): Promise<void> => {
    stream.closeWrite();
    const timer = setTimeout(() => stream.reset(), LINGER);
    try {
      await reading;
      while ((await stream.read()) !== null);
    } catch {
      // It has ended.
    } finally {
      clearTimeout(timer);
    }
  };

  const wire: Wire = {
    id: stream.id,
    read: async (into, signal) => {
      if (closing !== undefined) throw new LeanError('ERR_CONNECTION_CLOSED', 'closed by us');
      reading = stream.read(into, signal);
      const chunk = await reading;
      if (chunk === null) return null;
      received += chunk.length;
      onActivity?.();
      if (received <= maxReceived) return chunk;
      stream.reset();
      throw new LeanError(
        'ERR_PROTOCOL_VIOLATION',
        `the peer sent more through the relay than the ${maxReceived} bytes allowed`,
      );
    },
    unread: (chunk) => {
      received -= chunk.length;
      stream.unread(chunk);
    },
    write: (chunk) => {
      onActivity?.();
      return stream.write(chunk);
    },
    drain: (signal) => stream.drain(signal),
    closeWrite: () => stream.closeWrite(),
    stopSending: (code) => stream.stopSending(code),
    reset: (code) => stream.reset(code),
    [Symbol.asyncIterator]: () => iterate(wire),
    close: () => {
      closing ??= finish();
      return closing;
    },
  };
  return wire;
};
