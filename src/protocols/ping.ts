/** Ping (libp2p/specs ping/ping.md): the dialer sends 32 random bytes, which the listener echoes, any number of times. */

import { randomBytes } from 'node:crypto';
import type { Connection } from '../connection.ts';
import { withDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import { readExactly, writeAll } from '../stream/bytes.ts';
import { finish } from '../stream/finish.ts';
import type { Stream } from '../stream.ts';

export const PING = '/ipfs/ping/1.0.0';

/** Bytes of one ping. */
export const PING_SIZE = 32;

/** The most bytes that a listener echoes in one write, when a peer sends many pings at once. */
const ECHO_AT_ONCE = 128 * PING_SIZE;

/** How long an answer may take; milliseconds, go-libp2p's and js-libp2p's value. */
const ANSWER_TIMEOUT = 10_000;

/** How long a listener waits for the next ping on a stream; milliseconds. */
const IDLE_TIMEOUT = 60_000;

export interface PingOptions {
  /** Aborts the ping. */
  readonly signal?: AbortSignal | undefined;
  /** How long the answer may take; milliseconds, default 10,000. */
  readonly timeout?: number;
}

/**
 * Measures one round trip, on a new stream of the connection `target`, or on the stream `target`. A stream can be used
 * for further pings, one at a time; the caller ends it with `closeWrite()`. On a new stream the time includes the
 * protocol's negotiation, which takes no further round trip.
 *
 * @returns the round-trip time in milliseconds, with a fraction.
 * @throws ERR_PING_MISMATCH when other bytes came back; ERR_EOF when the peer closed the stream
 * first; ERR_TIMEOUT and ERR_ABORTED (the stream is then reset); what the stream throws.
 */
export const ping = async (
  target: Connection | Stream,
  options: PingOptions = {},
): Promise<number> => {
  if (!('newStream' in target)) return pingOn(target, options);
  const { signal } = options;
  const stream = await target.newStream(PING, { signal });
  try {
    const rtt = await pingOn(stream, options);
    finish(stream);
    return rtt;
  } catch (error) {
    stream.reset();
    throw error;
  }
};

const pingOn = (
  stream: Stream,
  { signal, timeout = ANSWER_TIMEOUT }: PingOptions,
): Promise<number> => {
  const reset = () => stream.reset();
  return withDeadline(roundTrip(stream), timeout, 'the answer to a ping', reset, signal);
};

const roundTrip = async (stream: Stream): Promise<number> => {
  const payload = randomBytes(PING_SIZE);
  const start = performance.now();
  await writeAll(stream, payload);
  const answer = await readExactly(stream, PING_SIZE);
  const rtt = performance.now() - start;
  if (payload.compare(answer) !== 0) {
    throw new LeanError('ERR_PING_MISMATCH', 'the peer answered a ping with other bytes');
  }
  return rtt;
};

/**
 * Listener: echoes pings until the dialer closes its side, then closes ours.
 *
 * @throws ERR_EOF when the dialer closed in the middle of a ping; ERR_TIMEOUT when no ping was received and echoed for
 * `idleTimeout` milliseconds (the stream is then reset); what the stream throws.
 */
export const handlePing = async (stream: Stream, idleTimeout = IDLE_TIMEOUT): Promise<void> => {
  const expire = () => stream.reset();
  while (await withDeadline(echo(stream), idleTimeout, 'the next ping', expire));
  stream.closeWrite();
};

/** Echoes the pings that have arrived, waiting for the first. @returns false at the end of the stream. */
const echo = async (stream: Stream): Promise<boolean> => {
  let chunk = await stream.read();
  if (chunk === null) return false;
  const whole = Math.min(chunk.length - (chunk.length % PING_SIZE), ECHO_AT_ONCE);
  if (whole === 0) {
    stream.unread(chunk);
    chunk = await readExactly(stream, PING_SIZE);
  } else if (whole < chunk.length) {
    stream.unread(chunk.subarray(whole));
    chunk = chunk.subarray(0, whole);
  }
  await writeAll(stream, chunk);
  return true;
};
