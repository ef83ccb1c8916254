/** Messages on a stream, each preceded by its length, an unsigned varint. */

import { LeanError } from '../errors.ts';
import type { Stream } from '../stream.ts';
import { encodeVarint, readExactly, readVarint, writeAll } from './bytes.ts';

/**
 * Reads one message.
 *
 * @param max the longest message allowed, bytes.
 * @throws ERR_EOF when the stream ends before or within the message; ERR_MESSAGE_TOO_LONG; ERR_PROTOCOL_VIOLATION
 * for a malformed length; what the stream throws.
 */
export const readMessage = async (stream: Stream, max: number): Promise<Uint8Array> => {
  const length = await readVarint(stream, max);
  if (length === null) {
    throw new LeanError('ERR_EOF', 'the peer closed the stream instead of sending a message');
  }
  return length === 0 ? new Uint8Array(0) : readExactly(stream, length);
};

/** Writes one message and waits until there is room for more. @throws what the stream throws. */
export const writeMessage = (stream: Stream, message: Uint8Array): Promise<void> =>
  writeAll(stream, Buffer.concat([encodeVarint(message.length), message]));
