/**
 * multistream-select 1.0: how two peers agree on the protocol of a stream (libp2p/specs
 * connections/README.md, "multistream-select"). A message is a varint length, the text and a newline,
 * which the length includes.
 *
 * A function of this file that throws has reset the stream.
 */

import type { ProtocolStream } from './connection.ts';
import { orAborted } from './deadline.ts';
import { isLeanError, LeanError } from './errors.ts';
import { quote } from './printable.ts';
import { concat, encodeVarint, readExactly, readVarint, writeAll } from './stream/bytes.ts';
import { iterate } from './stream/iterate.ts';
import { type Stream, StreamResetError } from './stream.ts';

export const MULTISTREAM = '/multistream/1.0.0';

/**
 * Dialer, eager: proposes `protocols` in turn and waits for each answer. The header and the first
 * proposal are sent together.
 *
 * @returns the protocol that the peer accepted.
 * @throws ERR_PROTOCOL_NOT_SUPPORTED when it accepted none; ERR_PROTOCOL_VIOLATION or
 * ERR_MESSAGE_TOO_LONG when it does not speak multistream-select; ERR_EOF; what the stream throws.
 */
export const select = async (stream: Stream, protocols: readonly string[]): Promise<string> => {
  try {
    let header: readonly string[] = [MULTISTREAM];
    for (const protocol of protocols) {
      await writeAll(stream, encodeMessages([...header, protocol]));
      if (header.length > 0) await expectHeader(stream);
      header = [];
      if (await expectAnswer(stream, protocol)) return protocol;
    }
    throw notSupported(protocols.join(', '));
  } catch (error) {
    throw abandon(stream, protocols.join(', '), error);
  }
};

/**
 * Dialer, lazy: writes the header and the proposal and does not wait, so that the caller's first
 * payload is sent in the same flight if it is written in the same turn of the event loop.
 *
 * The first `read()` of the returned stream consumes and checks the peer's answer; if the peer refused, it throws as
 * {@link select} does, and so does every later `read()`. A caller that never reads does not learn of a refusal.
 * ERR_STREAM_RESET without an answer may be a refusal, too: some peers refuse that way.
 * `stopSending()` takes effect after the answer: some listeners cannot negotiate with a peer that
 * has stopped reading.
 *
 * @throws what `stream.write()` throws.
 */
export const selectLazily = (stream: Stream, protocol: string): ProtocolStream => {
  const proposal = encodeMessages([MULTISTREAM, protocol]);
  stream.write(proposal);
  let answer: Promise<void> | undefined;
  const checkAnswer = (): Promise<void> => {
    answer ??= awaitAnswer(stream, protocol, proposal);
    return answer;
  };
  const lazy: ProtocolStream = {
    id: stream.id,
    protocol,
    read: async (into, signal) => {
      const answered = checkAnswer();
      await (signal === undefined ? answered : orAborted(answered, signal, 'reading'));
      lazy.read = (room, stop) => stream.read(room, stop);
      return stream.read(into, signal);
    },
    unread: (chunk) => stream.unread(chunk),
    write: (chunk) => stream.write(chunk),
    drain: (signal) => stream.drain(signal),
    closeWrite: () => stream.closeWrite(),
    stopSending: (code) => {
      const stop = () => stream.stopSending(code);
      checkAnswer().then(stop, stop);
    },
    reset: (code) => stream.reset(code),
    [Symbol.asyncIterator]: () => iterate(lazy),
  };
  return lazy;
};

/** Reads and checks the answer. @param proposal what was written: a peer that accepts it answers with the same bytes. */
const awaitAnswer = async (
  stream: Stream,
  protocol: string,
  proposal: Uint8Array,
): Promise<void> => {
  try {
    if (await skip(stream, proposal)) return;
    await expectHeader(stream);
    if (!(await expectAnswer(stream, protocol))) throw notSupported(protocol);
  } catch (error) {
    const reason = abandon(stream, protocol, error);
    throw reason instanceof StreamResetError && reason.by === 'remote'
      ? unanswered(protocol, reason)
      : reason;
  }
};

/**
 * Listener: answers the peer's proposals until one is supported. Works for eager and lazy dialers; a lazy dialer's
 * payload stays in the stream. `ls` is answered if `supported` is a list.
 *
 * @param supported the protocols, or a function that says whether one is supported.
 * @returns the protocol agreed on.
 * @throws ERR_PROTOCOL_NOT_SUPPORTED when the peer proposed only unsupported ones and gave up;
 * ERR_PROTOCOL_VIOLATION or ERR_MESSAGE_TOO_LONG when it does not speak multistream-select or makes too many
 * proposals; ERR_EOF when it closed the stream before a proposal; what the stream throws.
 */
export const negotiate = async (
  stream: Stream,
  supported: Iterable<string> | ((protocol: string) => boolean),
): Promise<string> => {
  const list = typeof supported === 'function' ? undefined : new Set(supported);
  const isSupported = typeof supported === 'function' ? supported : (p: string) => list?.has(p);
  let refused: string | undefined;
  try {
    const first = await takeProposal(stream, isSupported);
    if (first !== undefined) {
      await answerWith(stream, encodeMessages([MULTISTREAM, first]));
      return first;
    }
    await expectHeader(stream);
    await answerWith(stream, HEADER.slice());
    for (let turn = 0; turn < MAX_PROPOSALS; turn++) {
      const message = await readMessage(stream);
      if (isSupported(message) === true) {
        await answerWith(stream, encodeMessages([message]));
        return message;
      }
      if (message === 'ls' && list !== undefined) {
        await answerWith(stream, encodeList(list));
      } else {
        refused = message;
        await answerWith(stream, encodeMessages(['na']));
      }
    }
    throw violation(`made ${MAX_PROPOSALS} proposals and none is supported`);
  } catch (error) {
    if (refused === undefined || !endsAfterRefusal(error)) throw abandon(stream, refused, error);
    // Not reset(): that would discard a `na` that has not been sent yet.
    stream.closeWrite();
    stream.stopSending(NEGOTIATION_FAILED);
    throw new LeanError(
      'ERR_PROTOCOL_NOT_SUPPORTED',
      `the peer proposed ${quote(refused)}, which is not supported here`,
      { cause: error },
    );
  }
};

/**
 * Whether `error` is how negotiation ends after our `na`: a lazy dialer's payload is not a message, and a dialer
 * without alternatives closes or resets the stream.
 */
const endsAfterRefusal = (error: unknown): boolean =>
  isLeanError(error, 'ERR_PROTOCOL_VIOLATION') ||
  isLeanError(error, 'ERR_MESSAGE_TOO_LONG') ||
  isLeanError(error, 'ERR_EOF') ||
  isLeanError(error, 'ERR_STREAM_RESET');

/** The longest message accepted, bytes: protocol names are short. go-libp2p accepts 64 KiB, rust-libp2p 16 KiB. */
const MAX_MESSAGE = 1024;
/** How much of a message an error quotes, characters. */
const MAX_QUOTED = 64;
/** The most proposals that a dialer may make on one stream. */
const MAX_PROPOSALS = 32;
/** go-libp2p's stream error code StreamProtocolNegotiationFailed. */
const NEGOTIATION_FAILED = 0x1001;

const expectHeader = async (stream: Stream): Promise<void> => {
  const message = await readMessage(stream);
  if (message !== MULTISTREAM)
    throw violation(`sent ${quote(message, MAX_QUOTED)} instead of ${MULTISTREAM}`);
};

/** Reads the answer to the proposal of `protocol`: true when the peer accepted it, false when it answered `na`. */
const expectAnswer = async (stream: Stream, protocol: string): Promise<boolean> => {
  const answer = await readMessage(stream);
  if (answer === protocol) return true;
  if (answer === 'na') return false;
  throw violation(`answered ${quote(answer, MAX_QUOTED)} to the proposal ${protocol}`);
};

/** Consumes `expected` if one read returns it, possibly followed by more; else puts everything back. @returns whether it did. */
const skip = async (stream: Stream, expected: Uint8Array): Promise<boolean> => {
  const chunk = await stream.read();
  if (chunk === null) return false;
  const found = expected.every((byte, at) => chunk[at] === byte);
  stream.unread(found ? chunk.subarray(expected.length) : chunk);
  return found;
};

/**
 * Consumes the header and the first proposal if one read returns both and the protocol is supported; else puts
 * everything back and returns `undefined`.
 */
const takeProposal = async (
  stream: Stream,
  isSupported: (protocol: string) => boolean | undefined,
): Promise<string | undefined> => {
  const chunk = await stream.read();
  if (chunk === null) return undefined;
  const start = HEADER.length + 1;
  const end = start + (chunk[HEADER.length] ?? 0);
  if (
    // The varint length has one byte.
    end - start < 0x80 &&
    chunk.length >= end &&
    chunk[end - 1] === NEWLINE &&
    HEADER.every((byte, at) => chunk[at] === byte)
  ) {
    const protocol = decoder.decode(chunk.subarray(start, end - 1));
    if (isSupported(protocol) === true) {
      stream.unread(chunk.subarray(end));
      return protocol;
    }
  }
  stream.unread(chunk);
  return undefined;
};

/** Writes an answer. A peer that has stopped reading is no error: it may only want to write. */
const answerWith = async (stream: Stream, message: Uint8Array): Promise<void> => {
  try {
    await writeAll(stream, message);
  } catch (error) {
    if (!isLeanError(error, 'ERR_STREAM_STOPPED')) throw error;
  }
};

const readMessage = async (stream: Stream): Promise<string> => {
  const length = await readVarint(stream, MAX_MESSAGE);
  if (length === null) {
    throw new LeanError('ERR_EOF', 'the peer closed the stream during multistream-select');
  }
  if (length === 0) throw violation('sent an empty message');
  const bytes = await readExactly(stream, length);
  if (bytes[length - 1] !== NEWLINE) throw violation('sent a message without a newline at its end');
  return decoder.decode(bytes.subarray(0, length - 1));
};

const encodeMessages = (lines: readonly string[]): Uint8Array => concat(lines.map(encodeMessage));

const encodeMessage = (line: string): Uint8Array => {
  const text = encoder.encode(`${line}\n`);
  return concat([encodeVarint(text.length), text]);
};

/** The answer to `ls`: one message that holds a message for each protocol. */
const encodeList = (protocols: Iterable<string>): Uint8Array => {
  const body = concat([...[...protocols].map(encodeMessage), Uint8Array.of(NEWLINE)]);
  return concat([encodeVarint(body.length), body]);
};

const NEWLINE = 0x0a;
const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** The first message of either side. */
const HEADER = encodeMessages([MULTISTREAM]);

/** Resets `stream` and returns the error to throw. */
const abandon = (stream: Stream, protocol: string | undefined, error: unknown): unknown => {
  stream.reset(NEGOTIATION_FAILED);
  if (protocol !== undefined && refusedByReset(error)) return notSupported(protocol, error);
  return error;
};

/** go-libp2p may reset a stream whose protocol it refuses before its `na` has arrived. */
const refusedByReset = (error: unknown): boolean =>
  error instanceof StreamResetError && error.resetCode === NEGOTIATION_FAILED;

const notSupported = (protocols: string, cause?: unknown): LeanError =>
  new LeanError('ERR_PROTOCOL_NOT_SUPPORTED', `the peer does not support ${protocols}`, { cause });

/** The error when the peer reset the stream without an answer. mplex has no error codes, and not every peer sends one. */
const unanswered = (protocol: string, cause: StreamResetError): StreamResetError => {
  const code = cause.resetCode === 0 ? '' : ` (code ${cause.resetCode})`;
  return new StreamResetError(
    'ERR_STREAM_RESET',
    cause.resetCode,
    `the peer reset the stream${code} instead of agreeing to ${protocol}, which it may not support`,
    'remote',
    { cause },
  );
};

const violation = (what: string): LeanError =>
  new LeanError('ERR_PROTOCOL_VIOLATION', `multistream-select: the peer ${what}`);
