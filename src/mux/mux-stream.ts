/** A stream of a muxer: queues in both directions, with the muxer's protocol behind {@link MuxStreamOwner}. */

import { type ConnectionMemory, STREAM_RESOURCE_LIMIT_EXCEEDED } from '../connection-memory.ts';
import { type Deferred, defer } from '../deferred.ts';
import { LeanError } from '../errors.ts';
import { ByteQueue } from '../stream/byte-queue.ts';
import type { StallWatch, WaitingWriter } from '../stream/stall-watch.ts';
import { type Stream, StreamResetError } from '../stream.ts';

/** Bytes written and not yet sent above which the writer is told to wait. */
const WRITE_HIGH_WATER = 256 << 10;
/** Bytes not yet sent at which a waiting writer goes on. */
const WRITE_LOW_WATER = 128 << 10;
/** What a peer may still send after `stopSending()` before the stream is reset. */
export const STOPPED_ALLOWANCE = 256 << 10;
/** What came before the peer's reset and is still read: room for an answer of multistream-select. */
const LAST_WORDS = 1024;

/** What a stream asks of its muxer. */
export interface MuxStreamOwner<S> {
  readonly memory: ConnectionMemory;
  readonly stalls: StallWatch;
  /** There is something to send: payload, or the end of it. */
  onWritable(stream: S): void;
  /** The application has taken `bytes` that came in, or they were discarded. */
  onConsumed(stream: S, bytes: number): void;
  /** The application abandoned the stream. */
  onReset(stream: S, code: number): void;
  /** Both directions have ended. */
  onFinished(stream: S): void;
}

export class MuxStream implements Stream, WaitingWriter {
  /** Unique within the muxer. */
  readonly key: number;
  /** Whether the peer opened it. */
  readonly inbound: boolean;
  /** Whether it waits for its turn to send; the muxer's. */
  isScheduled = false;
  /** Bytes written that were sent. */
  sentBytes = 0;

  readonly #owner: MuxStreamOwner<MuxStream>;
  /** Where it is counted: until both directions have ended. */
  #memory: ConnectionMemory | undefined;

  // In.
  readonly #received = new ByteQueue();
  #putBack: ByteQueue | undefined;
  #reader: Deferred<Uint8Array | null> | undefined;
  #readEnded = false;
  #readError: LeanError | undefined;
  /** Bytes discarded since `stopSending()`; -1: not called. */
  #discarded = -1;

  // Out.
  readonly #pending = new ByteQueue();
  #writer: Deferred<void> | undefined;
  #writeClosed = false;
  #finSent = false;
  #writeError: LeanError | undefined;

  #abandoned = false;

  constructor(owner: MuxStreamOwner<MuxStream>, key: number, inbound: boolean) {
    this.#owner = owner;
    this.#memory = owner.memory;
    this.key = key;
    this.inbound = inbound;
  }

  get id(): string {
    return `${this.inbound ? 'in' : 'out'}-${this.key}`;
  }

  /** Bytes received and not yet read, or put back. */
  get unreadBytes(): number {
    return this.#received.bytes + (this.#putBack?.bytes ?? 0);
  }

  /** Bytes written and not yet sent. */
  get pendingBytes(): number {
    return this.#pending.bytes;
  }

  /** Whether either side abandoned it. */
  get isReset(): boolean {
    return this.#abandoned;
  }

  // The application's side.

  read(): Promise<Uint8Array | null> {
    const back = this.#putBack?.shift();
    if (back !== undefined) {
      this.#memory?.addUnread(-back.length);
      return Promise.resolve(back);
    }
    const chunk = this.#received.shift();
    if (chunk !== undefined) {
      this.#memory?.addUnread(-chunk.length);
      this.#owner.onConsumed(this, chunk.length);
      return Promise.resolve(chunk);
    }
    if (this.#readError !== undefined) return Promise.reject(this.#readError);
    if (this.#readEnded) return Promise.resolve(null);
    this.#reader = defer();
    return this.#reader.promise;
  }

  unread(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#putBack ??= new ByteQueue();
    this.#putBack.unshift(chunk);
    this.#memory?.addUnread(chunk.length);
  }

  write(chunk: Uint8Array): boolean {
    if (this.#writeError !== undefined) throw this.#writeError;
    if (this.#writeClosed) throw writeAfterClose();
    if (chunk.length > 0) {
      this.#pending.push(chunk);
      this.#memory?.addUnsent(chunk.length);
      this.#owner.onWritable(this);
    }
    return this.#hasRoom(WRITE_HIGH_WATER);
  }

  drain(): Promise<void> {
    if (this.#writeError !== undefined) return Promise.reject(this.#writeError);
    if (this.#hasRoom(WRITE_HIGH_WATER)) return Promise.resolve();
    if (this.#writer === undefined) {
      this.#writer = defer();
      this.#owner.stalls.add(this);
    }
    return this.#writer.promise;
  }

  #hasRoom(mark: number): boolean {
    const { bytes } = this.#pending;
    return bytes < mark && (this.#memory?.mayWrite(bytes) ?? true);
  }

  closeWrite(): void {
    if (this.#writeClosed || this.#writeError !== undefined) return;
    this.#writeClosed = true;
    this.#owner.onWritable(this);
  }

  stopSending(): void {
    if (this.#discarded >= 0 || this.#readError !== undefined) return;
    this.#discarded = 0;
    this.dropUnread();
    if (this.#readEnded) return;
    this.#readError = readAfterStop();
    this.#reader?.reject(this.#readError);
    this.#reader = undefined;
  }

  reset(code = 0): void {
    this.#abort(code, writeAfterClose());
  }

  /** Waited for its peer in vain; stall-watch.ts. */
  onStalled(error: LeanError): void {
    this.#abort(STREAM_RESOURCE_LIMIT_EXCEEDED, error);
  }

  #abort(code: number, writeError: LeanError): void {
    if (this.isReset || (this.#readEnded && this.#finSent)) {
      // Over already, but for what nobody will read now.
      this.dropUnread();
      return;
    }
    const what = 'the stream was reset by us';
    const error = new StreamResetError('ERR_STREAM_RESET', code, what, 'local');
    this.dropUnread();
    this.#abandon(error, writeError);
    this.#owner.onReset(this, code);
  }

  // The muxer's side.

  /** Whether anything more may come in: not after the peer's end or a reset. */
  get isReadable(): boolean {
    return !this.#readEnded && !this.isReset;
  }

  /** Takes payload off the wire. The piece is kept, or copied if it is small. */
  push(piece: Uint8Array): void {
    if (this.#discarded >= 0) {
      this.#discarded += piece.length;
      this.#owner.onConsumed(this, piece.length);
      if (this.#discarded > STOPPED_ALLOWANCE) this.reset();
      return;
    }
    const reader = this.#reader;
    if (reader !== undefined) {
      this.#reader = undefined;
      this.#owner.onConsumed(this, piece.length);
      reader.resolve(piece);
      return;
    }
    this.#received.push(piece);
    this.#memory?.addUnread(piece.length);
  }

  /** The peer has finished writing. */
  onRemoteEnd(): void {
    if (this.#readEnded) return;
    this.#readEnded = true;
    if (this.#received.bytes === 0) {
      this.#reader?.resolve(null);
      this.#reader = undefined;
    }
    this.#finishIfDone();
  }

  /**
   * The peer abandoned the stream. What came before is discarded, as in QUIC, but for a few bytes on a
   * stream of ours: a peer that refuses its protocol says so and resets it in the same breath.
   */
  onRemoteReset(code: number): void {
    const keeps = this.#readEnded || (!this.inbound && this.unreadBytes <= LAST_WORDS);
    if (!keeps) this.dropUnread();
    const read = new StreamResetError('ERR_STREAM_RESET', code, 'the stream was reset by the peer');
    const write = new StreamResetError(
      'ERR_STREAM_STOPPED',
      code,
      'the stream was reset by the peer',
    );
    this.#abandon(this.#readEnded ? undefined : read, this.#finSent ? undefined : write);
    this.#finish();
  }

  /** The connection ended; `byUs`: what is still unread is discarded. */
  onConnectionClosed(error: LeanError, byUs: boolean): void {
    if (byUs) this.dropUnread();
    if (!this.#readEnded || byUs) {
      this.#readError ??= error;
      this.#reader?.reject(this.#readError);
      this.#reader = undefined;
    }
    this.#dropPending(error);
  }

  /** Whether `closeWrite()` was called, everything before it was sent, and its end was not yet. */
  get isEndDue(): boolean {
    return this.#writeClosed && this.pendingBytes === 0 && !this.#finSent;
  }

  /** The end of what we write was sent. */
  onEndSent(): void {
    this.#finSent = true;
    this.#finishIfDone();
  }

  /**
   * Takes the next `length` bytes to send, at most `pendingBytes`, and hands them to `send` chunk by
   * chunk. The caller calls {@link wakeWriter} when it is done.
   */
  takePending(length: number, send: (chunk: Uint8Array) => void): void {
    for (const chunk of this.#pending.front(length)) send(chunk);
    this.#pending.drop(length);
    this.sentBytes += length;
    this.#memory?.addUnsent(-length);
  }

  /** Lets the writer go on if there is room. */
  wakeWriter(): void {
    if (this.#writer === undefined || !this.#hasRoom(WRITE_LOW_WATER)) return;
    this.#owner.stalls.delete(this);
    this.#writer.resolve();
    this.#writer = undefined;
  }

  #finishIfDone(): void {
    if (this.#readEnded && this.#finSent) this.#finish();
  }

  /** From here on the stream belongs to nobody but whoever holds it, and what is still to be read does. */
  #finish(): void {
    this.#memory?.addUnread(-this.unreadBytes);
    this.#memory = undefined;
    this.#owner.onFinished(this);
  }

  #abandon(readError: LeanError | undefined, writeError: LeanError | undefined): void {
    this.#abandoned = true;
    if (readError !== undefined) {
      this.#readError ??= readError;
      this.#reader?.reject(this.#readError);
      this.#reader = undefined;
    }
    if (writeError !== undefined) this.#dropPending(writeError);
  }

  /** Throws away what was received. */
  dropUnread(): void {
    this.#memory?.addUnread(-(this.#putBack?.bytes ?? 0));
    this.#putBack = undefined;
    const { bytes } = this.#received;
    if (bytes === 0) return;
    this.#received.clear();
    this.#memory?.addUnread(-bytes);
    this.#owner.onConsumed(this, bytes);
  }

  #dropPending(error: LeanError): void {
    this.#memory?.addUnsent(-this.#pending.bytes);
    this.#pending.clear();
    this.#writeError ??= error;
    if (this.#writer === undefined) return;
    this.#owner.stalls.delete(this);
    // Whoever waits in drain() learns of it; nobody need be.
    this.#writer.promise.catch(() => {});
    this.#writer.reject(this.#writeError);
    this.#writer = undefined;
  }
}

const writeAfterClose = (): LeanError =>
  new LeanError('ERR_STREAM_CLOSED', 'write on a stream that we closed');

const readAfterStop = (): LeanError =>
  new LeanError('ERR_STREAM_CLOSED', 'read on a stream that we stopped reading');
