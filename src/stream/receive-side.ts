/**
 * The receiving half of a {@link Stream}, shared by every stack: the unread bytes, the waiting reader, and the end.
 * The stacks differ in where bytes come from: some push them, from others they are pulled.
 */

import type { ConnectionMemory } from '../connection-memory.ts';
import { abortedBy } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import { ByteQueue } from './byte-queue.ts';

/** The most bytes that {@link ReceiveSide.lookForEnd} reads. */
const LOOK_AHEAD = 64;

/** The stack, as the receiving half sees it. */
export interface ReceiveSource {
  /**
   * Returns the next chunk, never empty, if one is available now, else `undefined`. May call `finish()`, `close()` or
   * `abandon()`.
   *
   * @param into the reader's buffer, which the chunk may be read into.
   */
  pull?(into: Uint8Array | undefined): Uint8Array | undefined;
  /** A reader has begun to wait, or no longer waits. */
  onReader?(waits: boolean): void;
  /** `bytes` of the pushed bytes were read or discarded. */
  onTaken?(bytes: number): void;
}

interface Reader {
  readonly resolve: (chunk: Uint8Array | null) => void;
  readonly reject: (error: Error) => void;
  readonly into: Uint8Array | undefined;
}

export class ReceiveSide {
  readonly #source: ReceiveSource;
  #memory: ConnectionMemory | undefined;
  /** Bytes that were pushed and not read. */
  #queue: ByteQueue | undefined;
  /** Bytes that the reader put back; they are read before those in `#queue`. */
  #putBack: ByteQueue | undefined;
  #reader: Reader | undefined;
  /** How receiving ended: `null` by the peer's FIN, else the error; `undefined` while it goes on. */
  #end: LeanError | null | undefined;
  /** Further bytes are discarded. */
  #abandoned = false;

  /** @param memory the account in which unread bytes are counted. */
  constructor(source: ReceiveSource, memory?: ConnectionMemory) {
    this.#source = source;
    this.#memory = memory;
  }

  /** Whether the source may still deliver bytes. */
  get isOpen(): boolean {
    return this.#end === undefined;
  }

  /** Whether the peer's FIN has arrived; bytes before it may still be unread. */
  get isFinished(): boolean {
    return this.#end === null;
  }

  /** Whether a reader waits. */
  get hasReader(): boolean {
    return this.#reader !== undefined;
  }

  /** Unread bytes. */
  get bytes(): number {
    return (this.#queue?.bytes ?? 0) + (this.#putBack?.bytes ?? 0);
  }

  /** Why reading fails, if it does. */
  get error(): LeanError | undefined {
    return this.#end ?? undefined;
  }

  // ── For the reader ───────────────────────────────────────────────────────────────────────────

  /** `Stream.read()`. */
  read(into?: Uint8Array, signal?: AbortSignal): Promise<Uint8Array | null> {
    if (this.#reader !== undefined) return Promise.reject(concurrentRead());
    if (signal?.aborted === true) return Promise.reject(abortedBy(signal, 'reading'));
    const chunk = this.#next(into);
    if (chunk !== undefined) return Promise.resolve(chunk);
    // pull() may have ended it just now.
    if (this.#end === null) return Promise.resolve(null);
    if (this.#end !== undefined) return Promise.reject(this.#end);
    return new Promise((resolve, reject) => {
      this.#reader =
        signal === undefined
          ? { resolve, reject, into }
          : this.#abortable({ resolve, reject, into }, signal);
      this.#source.onReader?.(true);
    });
  }

  #abortable(reader: Reader, signal: AbortSignal): Reader {
    const onAbort = (): void => {
      this.#takeReader();
      reader.reject(abortedBy(signal, 'reading'));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const done = (): void => signal.removeEventListener('abort', onAbort);
    return {
      into: reader.into,
      resolve: (chunk) => {
        done();
        reader.resolve(chunk);
      },
      reject: (error) => {
        done();
        reader.reject(error);
      },
    };
  }

  #next(into: Uint8Array | undefined): Uint8Array | undefined {
    const back = this.#putBack?.shift();
    if (back !== undefined) {
      this.#memory?.addUnread(-back.length);
      return back;
    }
    const chunk = this.#queue?.shift();
    if (chunk !== undefined) {
      this.#memory?.addUnread(-chunk.length);
      this.#source.onTaken?.(chunk.length);
      return chunk;
    }
    return this.#end === undefined ? this.#source.pull?.(into) : undefined;
  }

  /** `Stream.unread()`. */
  unread(chunk: Uint8Array): void {
    if (chunk.length === 0 || this.#abandoned) return;
    this.#putBack ??= new ByteQueue();
    this.#putBack.unshift(chunk);
    this.#memory?.addUnread(chunk.length);
  }

  // ── For the stack ────────────────────────────────────────────────────────────────────────────

  /** `chunk`, not empty, has arrived. */
  push(chunk: Uint8Array): void {
    if (this.#abandoned) {
      this.#source.onTaken?.(chunk.length);
      return;
    }
    const reader = this.#takeReader();
    if (reader === undefined) {
      this.#queue ??= new ByteQueue();
      this.#queue.push(chunk);
      this.#memory?.addUnread(chunk.length);
      return;
    }
    this.#source.onTaken?.(chunk.length);
    reader.resolve(chunk);
  }

  /** Something may be available to pull: gives it to the waiting reader, if there is one. */
  wake(): void {
    const reader = this.#reader;
    if (reader === undefined || this.#end !== undefined) return;
    // Not registered meanwhile: pull() may return a last chunk and call finish(), which would resolve the reader.
    this.#reader = undefined;
    const chunk = this.#source.pull?.(reader.into);
    if (chunk === undefined && this.#end === undefined) {
      this.#reader = reader;
      return;
    }
    this.#source.onReader?.(false);
    if (chunk !== undefined) reader.resolve(chunk);
    else if (this.#end === null) reader.resolve(null);
    else reader.reject(this.#end as unknown as LeanError);
  }

  /**
   * Pulls if nothing is unread and nobody is reading. A user who knows how long an answer is does not read up to the
   * FIN behind it, and until the FIN is known the stream is not over.
   */
  lookForEnd(): void {
    if (!this.isOpen || this.hasReader || this.bytes > 0) return;
    const chunk = this.#source.pull?.(new Uint8Array(LOOK_AHEAD));
    if (chunk !== undefined) this.push(chunk);
  }

  /** The peer's FIN has arrived: reading returns `null` after the unread bytes. */
  finish(): void {
    if (this.#end !== undefined) return;
    this.#end = null;
    this.#takeReader()?.resolve(null);
  }

  /** Nothing more will arrive: reading throws `error` after the unread bytes. For the end of a connection. */
  close(error: LeanError): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    this.#takeReader()?.reject(error);
  }

  /**
   * Discards unread bytes, and makes reading throw `error`, unless everything up to the peer's FIN was read. For
   * resets and `stopSending()`.
   */
  abandon(error: LeanError): void {
    if (this.#abandoned) return;
    const nothingLeft = this.bytes === 0;
    if (this.#end === null && nothingLeft) return;
    this.#abandoned = true;
    this.dropUnread();
    if (this.#end === undefined || this.#end === null) this.#end = error;
    this.#takeReader()?.reject(error);
  }

  /** Discards unread bytes. */
  dropUnread(): void {
    this.#memory?.addUnread(-this.bytes);
    const pushed = this.#queue?.bytes ?? 0;
    this.#queue?.clear();
    this.#putBack?.clear();
    if (pushed > 0) this.#source.onTaken?.(pushed);
  }

  /** Removes all unread bytes and returns them, in order. */
  takeAll(): Uint8Array[] {
    const chunks: Uint8Array[] = [];
    for (let chunk = this.#next(undefined); chunk !== undefined; chunk = this.#next(undefined)) {
      chunks.push(chunk);
    }
    return chunks;
  }

  /** Stops counting unread bytes: the stream is over, though its user may still read them. */
  release(): void {
    this.#memory?.addUnread(-this.bytes);
    this.#memory = undefined;
  }

  #takeReader(): Reader | undefined {
    const reader = this.#reader;
    if (reader === undefined) return undefined;
    this.#reader = undefined;
    this.#source.onReader?.(false);
    return reader;
  }
}

const concurrentRead = (): LeanError =>
  new LeanError('ERR_CONCURRENT_READ', 'another read of this stream has not ended');
