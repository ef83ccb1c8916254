/**
 * Echo, `/echo/1.0.0`: the listener sends back every byte that it receives, and closes its side when the dialer does.
 * There is no specification; this is what unified-testing's misc suite and js-libp2p's examples do.
 */

import { withDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import type { Stream } from '../stream.ts';

export const ECHO = '/echo/1.0.0';

/** How long neither side may send anything; milliseconds. */
const IDLE_TIMEOUT = 10_000;

/**
 * Listener: echoes bytes as they arrive until the dialer closes its side. It buffers nothing beyond the stream's
 * windows: it does not read from a dialer that does not read.
 *
 * @throws ERR_TIMEOUT when the dialer is silent, or does not read, for `idleTimeout` milliseconds; what the stream
 * throws. The stream is then reset.
 */
export const handleEcho = async (stream: Stream, idleTimeout = IDLE_TIMEOUT): Promise<void> => {
  const reset = () => stream.reset();
  try {
    for (;;) {
      const chunk = await withDeadline(stream.read(), idleTimeout, 'the next bytes', reset);
      if (chunk === null) break;
      if (!stream.write(chunk)) {
        await withDeadline(stream.drain(), idleTimeout, 'sending the echo', reset);
      }
    }
    stream.closeWrite();
  } catch (error) {
    stream.reset();
    throw error;
  }
};

/**
 * Dialer: sends `payload`, closes our side, and checks that the same bytes come back.
 *
 * @throws ERR_PROTOCOL_VIOLATION when they do not; ERR_TIMEOUT; what the stream throws. The stream is then reset.
 */
export const echo = async (
  stream: Stream,
  payload: Uint8Array,
  idleTimeout = IDLE_TIMEOUT,
): Promise<void> => {
  const reset = () => stream.reset();
  try {
    const expected = Buffer.from(payload);
    stream.write(Uint8Array.from(payload));
    stream.closeWrite();
    let received = 0;
    for (;;) {
      const chunk = await withDeadline(stream.read(), idleTimeout, 'the echo', reset);
      if (chunk === null) break;
      const wanted = expected.subarray(received, received + chunk.length);
      if (!wanted.equals(chunk)) {
        throw new LeanError('ERR_PROTOCOL_VIOLATION', 'echo: what came back is not what was sent');
      }
      received += chunk.length;
    }
    if (received !== expected.length) {
      const what = `echo: ${received} of ${expected.length} bytes came back`;
      throw new LeanError('ERR_PROTOCOL_VIOLATION', what);
    }
  } catch (error) {
    stream.reset();
    throw error;
  }
};
