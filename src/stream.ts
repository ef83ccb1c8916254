/**
 * The one byte-stream interface. QUIC streams, yamux and mplex streams, and the raw and secured TCP
 * connections below them all look like this, so a protocol is written once.
 *
 * It is pull-based on the way in and synchronous with backpressure on the way out; chunks are passed
 * by reference and never copied:
 *
 * - a chunk that `read()` resolves with belongs to the caller;
 * - a chunk given to `write()` belongs to the stream and must not be changed afterwards.
 *
 * What each call does in each state, in every stack (test/stream/contract.ts tests each cell). What
 * this side ended throws ERR_STREAM_CLOSED; what the peer ended, ERR_STREAM_RESET or
 * ERR_STREAM_STOPPED, with its code; what ended with the connection, ERR_CONNECTION_CLOSED.
 *
 * | state                 | `read()`                              | `write()`               | `drain()`     |
 * | --------------------- | ------------------------------------- | ----------------------- | ------------- |
 * | open                  | the next chunk, or waits for it       | takes it                | waits for room |
 * | another read waits    | ERR_CONCURRENT_READ; the first goes on | –                      | –             |
 * | peer finished         | what came, then `null` for ever       | as before               | as before     |
 * | peer reset            | ERR_STREAM_RESET ¹                    | ERR_STREAM_STOPPED ²    | as `write()`  |
 * | peer stopped reading  | as before                             | ERR_STREAM_STOPPED ³    | as `write()`  |
 * | our `stopSending()`   | ERR_STREAM_CLOSED ⁴                   | as before               | as before     |
 * | our `closeWrite()`    | as before                             | ERR_STREAM_CLOSED       | as before ⁵   |
 * | our `reset(code)`     | ERR_STREAM_RESET with our code ⁴      | ERR_STREAM_CLOSED       | as `write()`  |
 * | connection ended ⁶    | what came, then `null` if the peer had finished, else ERR_CONNECTION_CLOSED | ERR_CONNECTION_CLOSED | as `write()` |
 *
 * A call that waits when a state begins ends as one that is made in it. A stream is over, and costs its connection
 * nothing any more, once both sides have finished and all bytes were read: the peer's end need not be.
 *
 * 1. Bytes that came before it may still be read first.
 * 2. In QUIC a reset ends one direction. Our peers' `reset()` ends both, as every reset does in yamux and mplex.
 * 3. Yamux and mplex cannot say this: there the peer's stack discards what comes, and resets the stream
 *    when that is too much.
 * 4. What had come is discarded. Where all had been read, the peer's FIN too, nothing changes.
 * 5. What was written still leaves, so it waits and resolves as ever.
 * 6. Whoever ended it, and whether or not we had finished. A stream that was over in both directions stays as it was.
 */

import { LeanError } from './errors.ts';

export interface Stream extends AsyncIterable<Uint8Array, void, undefined> {
  /** Names the stream in logs; unique within its connection. */
  readonly id: string;

  /**
   * The next chunk, never empty, or `null` once the peer has finished writing and all was read. One
   * read at a time.
   *
   * @param into a buffer of the caller's that the stream may read into to avoid an allocation; the chunk is
   * then a part of it. Streams may ignore it.
   * @param signal ends the wait with its reason, if that is a LeanError, else with ERR_ABORTED, whose `cause`
   * it is. The stream stays as it was, and no byte is lost.
   * @throws as the table says.
   */
  read(into?: Uint8Array, signal?: AbortSignal): Promise<Uint8Array | null>;

  /**
   * Puts bytes back: the next `read()` resolves with them. For parsers that read too far. Does nothing
   * after `stopSending()` and `reset()`; never throws.
   */
  unread(chunk: Uint8Array): void;

  /**
   * Queues `chunk`, which may be empty. True: there is room for more. False: it was taken all the same, but
   * wait for `drain()` before writing more. What is written in one turn of the event loop leaves together.
   *
   * @throws as the table says.
   */
  write(chunk: Uint8Array): boolean;

  /**
   * Resolves when there is room to write again; several may wait.
   *
   * @param signal as for `read()`.
   * @throws as the table says.
   */
  drain(signal?: AbortSignal): Promise<void>;

  /** Half-closes: the peer reads EOF after all that was written. Idempotent; never throws. */
  closeWrite(): void;

  /** Tells the peer to stop writing and discards what it still sends. Idempotent; never throws. */
  stopSending(code?: number): void;

  /** Abandons both directions at once. Idempotent; never throws. */
  reset(code?: number): void;

  /** `for await (const chunk of stream)` reads to the end; leaving early is `stopSending(0)`. */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined>;
}

/** The error of ERR_STREAM_RESET and ERR_STREAM_STOPPED: carries the application error code of the side that did it. */
export class StreamResetError extends LeanError {
  readonly resetCode: number;
  readonly by: 'local' | 'remote';

  constructor(
    code: 'ERR_STREAM_RESET' | 'ERR_STREAM_STOPPED',
    resetCode: number,
    message: string,
    by: 'local' | 'remote' = 'remote',
    options?: ErrorOptions,
  ) {
    super(code, message, options);
    this.resetCode = resetCode;
    this.by = by;
  }
}
