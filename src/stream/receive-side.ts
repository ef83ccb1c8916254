/**
 * The receiving half of a {@link Stream}, shared by every stack: the bytes to be read, the waiting reader,
 * and the end. Stacks differ in where bytes come from: some push them, from others they are pulled.
 */

import type { ConnectionMemory } from '../connection-memory.ts';
import { abortedBy } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import { ByteQueue } from './byte-queue.ts';

/** Bytes that {@link ReceiveSide.lookForEnd} reads at most. */
const LOOK_AHEAD = 64;

/** Where bytes come from. */
export interface ReceiveSource {
  /**
   * The next chunk that is available now, never empty; `undefined`: none. May end this side.
   *
   * @param into a buffer of the reader's that may be used for it.
   */
  pull?(into: Uint8Array | undefined): Uint8Array | undefined;
  /** A reader has begun to wait, or stopped waiting. */
  onReader?(waits: boolean): void;
  /** That many of the pushed bytes were read or discarded. */
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
  /** Bytes that were put back, then those that were pushed. */
  #queue: ByteQueue | undefined;
  #putBack: ByteQueue | undefined;
  #reader: Reader | undefined;
  /** How the source ended: `null` for the peer's FIN, or the error; `undefined`: it has not. */
  #end: LeanError | null | undefined;
  /** Further bytes are discarded. */
  #abandoned = false;

  /** @param memory where unread bytes are counted. */
  constructor(source: ReceiveSource, memory?: ConnectionMemory) {
    this.#source = source;
    this.#memory = memory;
  }

  /** Whether the source may still have something. */
  get isOpen(): boolean {
    return this.#end === undefined;
  }

  /** Whether the peer finished; what came before may still be unread. */
  get isFinished(): boolean {
    return this.#end === null;
  }

  /** Whether a reader waits. */
  get hasReader(): boolean {
    return this.#reader !== undefined;
  }

  /** Bytes kept here. */
  get bytes(): number {
    return (this.#queue?.bytes ?? 0) + (this.#putBack?.bytes ?? 0);
  }

  /** Why reading fails. */
  get error(): LeanError | undefined {
    return this.#end ?? undefined;
  }

  // ── The reader's ─────────────────────────────────────────────────────────────────────────────

  /** `Stream.read()`. */
  read(into?: Uint8Array, signal?: AbortSignal): Promise<Uint8Array | null> {
    if (this.#reader !== undefined) return Promise.reject(concurrentRead());
    if (signal?.aborted === true) return Promise.reject(abortedBy(signal, 'reading'));
    const chunk = this.#next(into);
    if (chunk !== undefined) return Promise.resolve(chunk);
    // pull() may just have ended it.
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

  // ── The source's ─────────────────────────────────────────────────────────────────────────────

  /** `chunk`, not empty, has come. */
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

  /** There may be something to pull: a waiting reader gets it. */
  wake(): void {
    const reader = this.#reader;
    if (reader === undefined || this.#end !== undefined) return;
    // The reader does not count as waiting while the source is asked: a last chunk may come with the end.
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
   * Pulls, if nothing waits here and nobody reads: a reader who knows how long an answer is does not read the
   * FIN behind it, and without that the stream is not over.
   */
  lookForEnd(): void {
    if (!this.isOpen || this.hasReader || this.bytes > 0) return;
    const chunk = this.#source.pull?.(new Uint8Array(LOOK_AHEAD));
    if (chunk !== undefined) this.push(chunk);
  }

  /** The peer finished: `null` follows what came before. */
  finish(): void {
    if (this.#end !== undefined) return;
    this.#end = null;
    this.#takeReader()?.resolve(null);
  }

  /** Nothing more comes: `error` follows what came before. For the end of a connection. */
  close(error: LeanError): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    this.#takeReader()?.reject(error);
  }

  /**
   * Unread bytes are discarded, and reading throws `error`, unless everything was read, the peer's FIN
   * included. For resets and `stopSending()`.
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

  /** Throws away what waits here. */
  dropUnread(): void {
    this.#memory?.addUnread(-this.bytes);
    const pushed = this.#queue?.bytes ?? 0;
    this.#queue?.clear();
    this.#putBack?.clear();
    if (pushed > 0) this.#source.onTaken?.(pushed);
  }

  /** Takes all that waits here, in order. */
  takeAll(): Uint8Array[] {
    const chunks: Uint8Array[] = [];
    for (let chunk = this.#next(undefined); chunk !== undefined; chunk = this.#next(undefined)) {
      chunks.push(chunk);
    }
    return chunks;
  }

  /** Stops counting unread bytes: the stream is over, and its holder may still read them. */
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
