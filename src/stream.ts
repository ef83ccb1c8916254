/**
 * The one byte-stream interface, shared by QUIC streams, yamux and mplex streams, and the raw and secured
 * connections below the muxers, so that a protocol is written once.
 *
 * Reading is pull-based; writing is synchronous, with back-pressure. Chunks are passed by reference and never
 * copied:
 *
 * - a chunk that `read()` resolves with belongs to the caller;
 * - a chunk given to `write()` belongs to the stream and must not be changed afterwards.
 *
 * The table says what each call does in each state, over every stack (test/stream/contract.ts tests each cell).
 * The error tells who ended the direction: ERR_STREAM_CLOSED this side; ERR_STREAM_RESET or ERR_STREAM_STOPPED,
 * with the application's code, the peer; ERR_CONNECTION_CLOSED the end of the connection.
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
 * A call that is waiting when a state begins ends like one made in that state. A stream is over, and no longer
 * counts towards its connection's limits, once both sides have finished and all bytes were read; nobody has to
 * read the `null` that follows them.
 *
 * 1. Bytes that came before the reset may still be read first.
 * 2. In QUIC a reset ends one direction only, but `reset()`, ours and that of other implementations, sends both
 *    RESET_STREAM and STOP_SENDING. In yamux and mplex every reset ends both directions.
 * 3. Yamux and mplex have no STOP_SENDING: there the peer's stack discards what comes, and resets the stream
 *    if that is too much.
 * 4. Unread bytes are discarded. If everything had been read already, including the peer's FIN, nothing changes.
 * 5. What was written before is still sent, so `drain()` waits for it as usual.
 * 6. Whichever side ended it, and whether or not we had finished writing. A stream that was already over is unaffected.
 */

import { LeanError } from './errors.ts';

export interface Stream extends AsyncIterable<Uint8Array, void, undefined> {
  /** Names the stream in logs; unique within its connection. */
  readonly id: string;

  /**
   * The next chunk, never empty, or `null` once the peer has finished writing and all was read. One
   * read at a time.
   *
   * @param into a buffer of the caller's that the stream may read into, to avoid an allocation; the chunk is
   * then a view of it. Streams may ignore it.
   * @param signal ends the wait: with its reason if that is a LeanError, else with ERR_ABORTED, whose `cause` is
   * that reason. The stream is unaffected, and no byte is lost.
   * @throws as the table says.
   */
  read(into?: Uint8Array, signal?: AbortSignal): Promise<Uint8Array | null>;

  /**
   * Puts bytes back, for parsers that read too far: the next `read()` resolves with them. Does nothing
   * after `stopSending()` and `reset()`; never throws.
   */
  unread(chunk: Uint8Array): void;

  /**
   * Queues `chunk`, which may be empty. What is written in one turn of the event loop is sent together.
   *
   * @returns whether there is room for more. If not, the chunk was queued all the same; wait for `drain()` before
   * writing again.
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

  /** Half-closes: the peer reads EOF after everything that was written. Idempotent; never throws. */
  closeWrite(): void;

  /**
   * Tells the peer to stop writing, and discards what it still sends. Idempotent; never throws.
   *
   * @param code application error code, default 0; sent where the stack has such codes.
   */
  stopSending(code?: number): void;

  /** Abandons both directions at once. @param code as for `stopSending()`. Idempotent; never throws. */
  reset(code?: number): void;

  /** `for await (const chunk of stream)` reads to the end; leaving the loop early calls `stopSending(0)`. */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined>;
}

/** The error with code ERR_STREAM_RESET or ERR_STREAM_STOPPED. */
export class StreamResetError extends LeanError {
  /** The application error code that the resetting side sent; 0 where the stack has no codes. */
  readonly resetCode: number;
  /** Which side reset the stream. */
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
