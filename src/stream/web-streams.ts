/**
 * Adapts a stream to Web Streams, for code that needs them. They are slower than the stream itself, as each chunk
 * passes through the runtime's queues.
 */

import type { Stream } from '../stream.ts';

/** Both directions of a stream. */
export interface WebStreams {
  /** Chunks as `Stream.read()` gives them. `cancel()` is `stopSending(0)`. */
  readonly readable: ReadableStream<Uint8Array>;
  /** `close()` is `closeWrite()`; `abort()` is `reset(0)`, which ends both directions. */
  readonly writable: WritableStream<Uint8Array>;
}

/**
 * Adapts `stream` to a pair of Web Streams, with back-pressure in both directions: a chunk is read only when one is
 * requested, and `writer.ready` waits as `drain()` does. The stream must not be used directly any more.
 */
export const toWebStreams = (stream: Stream): WebStreams => ({
  readable: new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const chunk = await stream.read();
        if (chunk === null) controller.close();
        else controller.enqueue(chunk);
      },
      cancel: () => stream.stopSending(0),
    },
    { highWaterMark: 0 },
  ),
  writable: new WritableStream<Uint8Array>({
    async write(chunk) {
      if (!stream.write(chunk)) await stream.drain();
    },
    close: () => stream.closeWrite(),
    abort: () => stream.reset(0),
  }),
});
