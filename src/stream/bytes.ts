/** Reading and writing exact numbers of bytes, and unsigned varints (multiformats/unsigned-varint). */

import { LeanError } from '../errors.ts';
import type { Stream } from '../stream.ts';

/** Writes `chunk` and waits until there is room for more. @throws what the stream throws. */
export const writeAll = async (stream: Stream, chunk: Uint8Array): Promise<void> => {
  if (!stream.write(chunk)) await stream.drain();
};

/**
 * Reads exactly `length` bytes, at least 1; bytes beyond them are put back.
 *
 * @throws ERR_EOF when the peer finished earlier; what the stream throws.
 */
export const readExactly = async (stream: Stream, length: number): Promise<Uint8Array> => {
  const first = await stream.read();
  if (first === null) throw endOfStream(0, length);
  if (first.length === length) return first;
  if (first.length > length) {
    stream.unread(first.subarray(length));
    return first.subarray(0, length);
  }
  const out = new Uint8Array(length);
  out.set(first);
  let filled = first.length;
  while (filled < length) {
    const chunk = await stream.read();
    if (chunk === null) throw endOfStream(filled, length);
    const wanted = length - filled;
    if (chunk.length > wanted) {
      out.set(chunk.subarray(0, wanted), filled);
      stream.unread(chunk.subarray(wanted));
      return out;
    }
    out.set(chunk, filled);
    filled += chunk.length;
  }
  return out;
};

const endOfStream = (got: number, wanted: number): LeanError =>
  new LeanError('ERR_EOF', `the peer closed the stream after ${got} of ${wanted} bytes`);

/**
 * Reads an unsigned varint of at most 7 bytes, which is used as a length.
 *
 * @param max the largest value allowed.
 * @returns the value, or `null` when the stream ended before its first byte.
 * @throws ERR_MESSAGE_TOO_LONG for a value above `max`; ERR_PROTOCOL_VIOLATION for an encoding that is longer than
 * 7 bytes or not minimal; ERR_EOF when the stream ended within it; what the stream throws.
 */
export const readVarint = async (stream: Stream, max: number): Promise<number | null> => {
  let value = 0;
  let scale = 1;
  let taken = 0;
  for (;;) {
    const chunk = await stream.read();
    if (chunk === null) {
      if (taken === 0) return null;
      throw new LeanError('ERR_EOF', 'the peer closed the stream inside a length prefix');
    }
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i] as number;
      taken++;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (i + 1 < chunk.length) stream.unread(chunk.subarray(i + 1));
        if (byte === 0 && taken > 1) {
          throw new LeanError('ERR_PROTOCOL_VIOLATION', 'length prefix is not minimally encoded');
        }
        if (value > max) throw tooLong(value, max);
        return value;
      }
      scale *= 128;
      if (taken === 7) {
        throw new LeanError('ERR_PROTOCOL_VIOLATION', 'length prefix is longer than 7 bytes');
      }
    }
    if (value > max) throw tooLong(value, max);
  }
};

const tooLong = (value: number, max: number): LeanError =>
  new LeanError('ERR_MESSAGE_TOO_LONG', `message of ${value} bytes; at most ${max} are allowed`);

/** The unsigned-varint encoding of `value`, an integer in 0 … 2^53 - 1; 1 to 8 bytes. */
export const encodeVarint = (value: number): Uint8Array => {
  const out: number[] = [];
  while (value >= 0x80) {
    out.push((value % 128) | 0x80);
    value = Math.floor(value / 128);
  }
  out.push(value);
  return Uint8Array.from(out);
};

/** The concatenation of `chunks`: a new array, or the chunk itself if there is only one. */
export const concat = (chunks: readonly Uint8Array[]): Uint8Array => {
  const [only] = chunks;
  if (chunks.length === 1 && only !== undefined) return only;
  let length = 0;
  for (const chunk of chunks) length += chunk.length;
  const out = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
};
