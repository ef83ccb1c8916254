/**
 * The sending half of a {@link Stream}, shared by every stack: the writers that wait in `drain()`, and the end. The
 * stack queues the bytes and sends them.
 */

import { abortedBy } from '../deadline.ts';
import { LeanError } from '../errors.ts';

/** The stack, as the sending half sees it. */
export interface SendSink {
  /** Whether there is room to write. */
  hasRoom(): boolean;
  /** A writer has begun to wait in `drain()`, or none waits any longer. */
  onWriter?(waits: boolean): void;
}

interface Writer {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

const NONE: readonly Writer[] = [];

export class SendSide {
  readonly #sink: SendSink;
  /** Made for the first waiter: on most streams nobody ever waits. */
  #writers: Set<Writer> | undefined;
  /** Our `closeWrite()` was called. */
  #closed = false;
  #error: LeanError | undefined;

  constructor(sink: SendSink) {
    this.#sink = sink;
  }

  /** Whether `write()` is allowed. */
  get isOpen(): boolean {
    return !this.#closed && this.#error === undefined;
  }

  /** Whether `closeWrite()` was called, whatever happened since. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /** Why writing fails, if it does. */
  get error(): LeanError | undefined {
    return this.#error;
  }

  /** Whether a writer waits in `drain()`. */
  get hasWriter(): boolean {
    return this.#writers !== undefined;
  }

  /** @throws as `Stream.write()`. */
  assertOpen(): void {
    if (this.#error !== undefined) throw this.#error;
    if (this.#closed) {
      throw new LeanError('ERR_STREAM_CLOSED', 'write after the stream was closed for writing');
    }
  }

  /** `Stream.drain()`. */
  drain(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(abortedBy(signal, 'writing'));
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#sink.hasRoom()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#writers ??= new Set();
      this.#writers.add(
        signal === undefined ? { resolve, reject } : this.#abortable(resolve, reject, signal),
      );
      this.#sink.onWriter?.(true);
    });
  }

  #abortable(resolve: () => void, reject: (error: Error) => void, signal: AbortSignal): Writer {
    const done = (): void => signal.removeEventListener('abort', onAbort);
    const writer: Writer = {
      resolve: () => {
        done();
        resolve();
      },
      reject: (error) => {
        done();
        reject(error);
      },
    };
    const onAbort = (): void => {
      this.#writers?.delete(writer);
      if (this.#writers?.size === 0) this.#takeWriters();
      reject(abortedBy(signal, 'writing'));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    return writer;
  }

  /** There is room: resumes the writers that wait in `drain()`. */
  wake(): void {
    for (const { resolve } of this.#takeWriters()) resolve();
  }

  /** `Stream.closeWrite()`. @returns whether it was the first call and writing had not failed. */
  close(): boolean {
    if (!this.isOpen) return false;
    this.#closed = true;
    return true;
  }

  /** Nothing more will be sent: `write()` and `drain()` throw `error` from now on. The first error is kept. */
  fail(error: LeanError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    for (const { reject } of this.#takeWriters()) reject(error);
  }

  #takeWriters(): Iterable<Writer> {
    const writers = this.#writers;
    if (writers === undefined) return NONE;
    this.#writers = undefined;
    this.#sink.onWriter?.(false);
    return writers;
  }
}
