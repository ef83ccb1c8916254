/** A stream of a muxer: queues in both directions, with the muxer's protocol behind {@link MuxStreamOwner}. */

import { type Deferred, defer } from '../deferred.ts';
import { LeanError } from '../errors.ts';
import { type Stream, StreamResetError } from '../stream.ts';

/** Bytes written and not yet sent above which the writer is told to wait. */
const WRITE_HIGH_WATER = 256 << 10;
/** Bytes not yet sent at which a waiting writer goes on. */
const WRITE_LOW_WATER = 128 << 10;
/** Unread pieces shorter than this are copied together, so that tiny frames cannot pin big buffers. */
const SMALL_PIECE = 1024;
/** The buffers that they are copied into. */
const BLOCK = 8192;
/** What a peer may still send after `stopSending()` before the stream is reset. */
export const STOPPED_ALLOWANCE = 256 << 10;

/** What a stream asks of its muxer. */
export interface MuxStreamOwner<S> {
  /** There is something to send: payload, or the end of it. */
  onWritable(stream: S): void;
  /** The application has taken `bytes` that came in, or they were discarded. */
  onConsumed(stream: S, bytes: number): void;
  /** The application abandoned the stream. */
  onReset(stream: S, code: number): void;
  /** Both directions have ended. */
  onFinished(stream: S): void;
}

export class MuxStream implements Stream {
  /** Unique within the muxer. */
  readonly key: number;
  /** Whether the peer opened it. */
  readonly inbound: boolean;
  /** Whether it waits for its turn to send; the muxer's. */
  isScheduled = false;
  /** Bytes received and not yet read. */
  buffered = 0;
  /** Bytes written and not yet sent. */
  pendingBytes = 0;

  readonly #owner: MuxStreamOwner<MuxStream>;

  // In.
  readonly #received: Uint8Array[] = [];
  #putBack: Uint8Array[] | undefined;
  #block: Uint8Array | undefined;
  #blockUsed = 0;
  #reader: Deferred<Uint8Array | null> | undefined;
  #readEnded = false;
  #readError: LeanError | undefined;
  /** Bytes discarded since `stopSending()`; -1: not called. */
  #discarded = -1;

  // Out.
  readonly #pending: Uint8Array[] = [];
  /** Bytes of the first pending chunk that were sent already. */
  #sentOfFirst = 0;
  #writer: Deferred<void> | undefined;
  #writeClosed = false;
  #finSent = false;
  #writeError: LeanError | undefined;

  #abandoned = false;

  constructor(owner: MuxStreamOwner<MuxStream>, key: number, inbound: boolean) {
    this.#owner = owner;
    this.key = key;
    this.inbound = inbound;
  }

  get id(): string {
    return `${this.inbound ? 'in' : 'out'}-${this.key}`;
  }

  /** Whether either side abandoned it. */
  get isReset(): boolean {
    return this.#abandoned;
  }

  // The application's side.

  read(): Promise<Uint8Array | null> {
    const back = this.#putBack?.pop();
    if (back !== undefined) return Promise.resolve(back);
    const chunk = this.#received.shift();
    if (chunk !== undefined) {
      if (this.#received.length === 0) this.#block = undefined;
      this.buffered -= chunk.length;
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
    this.#putBack ??= [];
    this.#putBack.push(chunk);
  }

  write(chunk: Uint8Array): boolean {
    if (this.#writeError !== undefined) throw this.#writeError;
    if (this.#writeClosed) throw writeAfterClose();
    if (chunk.length > 0) {
      this.#pending.push(chunk);
      this.pendingBytes += chunk.length;
      this.#owner.onWritable(this);
    }
    return this.pendingBytes < WRITE_HIGH_WATER;
  }

  drain(): Promise<void> {
    if (this.#writeError !== undefined) return Promise.reject(this.#writeError);
    if (this.pendingBytes < WRITE_HIGH_WATER) return Promise.resolve();
    this.#writer ??= defer();
    return this.#writer.promise;
  }

  closeWrite(): void {
    if (this.#writeClosed || this.#writeError !== undefined) return;
    this.#writeClosed = true;
    this.#owner.onWritable(this);
  }

  stopSending(): void {
    if (this.#discarded >= 0 || this.#readError !== undefined) return;
    this.#discarded = 0;
    this.#putBack = undefined;
    this.#dropReceived();
    if (this.#readEnded) return;
    this.#readError = readAfterStop();
    this.#reader?.reject(this.#readError);
    this.#reader = undefined;
  }

  reset(code = 0): void {
    if (this.isReset || (this.#readEnded && this.#finSent)) return;
    const error = new StreamResetError('ERR_STREAM_RESET', code, 'the stream was reset by us');
    this.#abandon(error, writeAfterClose());
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
    this.buffered += piece.length;
    if (piece.length >= SMALL_PIECE) {
      this.#block = undefined;
      this.#received.push(piece);
      return;
    }
    this.#append(piece);
  }

  /** Copies a small piece behind what is queued. */
  #append(piece: Uint8Array): void {
    const block = this.#block;
    const last = this.#received.length - 1;
    const tail = this.#received[last];
    if (block === undefined || tail === undefined || this.#blockUsed + piece.length > BLOCK) {
      // Alone in the queue it will probably be read before the next one comes.
      const size = tail === undefined ? piece.length : BLOCK;
      this.#block = size === BLOCK ? new Uint8Array(BLOCK) : undefined;
      if (this.#block === undefined) {
        // Not `slice()`: that of a Buffer is a view.
        this.#received.push(new Uint8Array(piece));
        return;
      }
      this.#block.set(piece);
      this.#blockUsed = piece.length;
      this.#received.push(this.#block.subarray(0, piece.length));
      return;
    }
    const start = tail.byteOffset;
    block.set(piece, this.#blockUsed);
    this.#blockUsed += piece.length;
    this.#received[last] = new Uint8Array(block.buffer, start, this.#blockUsed - start);
  }

  /** The peer has finished writing. */
  onRemoteEnd(): void {
    if (this.#readEnded) return;
    this.#readEnded = true;
    if (this.#received.length === 0) {
      this.#reader?.resolve(null);
      this.#reader = undefined;
    }
    this.#finishIfDone();
  }

  /** The peer abandoned the stream. What came before is discarded, as in QUIC. */
  onRemoteReset(code: number): void {
    const read = new StreamResetError('ERR_STREAM_RESET', code, 'the stream was reset by the peer');
    const write = new StreamResetError(
      'ERR_STREAM_STOPPED',
      code,
      'the stream was reset by the peer',
    );
    this.#abandon(this.#readEnded ? undefined : read, this.#finSent ? undefined : write);
    this.#owner.onFinished(this);
  }

  /** The connection ended; `byUs`: what is still unread is discarded. */
  onConnectionClosed(error: LeanError, byUs: boolean): void {
    if (byUs) this.#dropReceived();
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
    this.pendingBytes -= length;
    for (let wanted = length; wanted > 0; ) {
      const first = this.#pending[0] as Uint8Array;
      const left = first.length - this.#sentOfFirst;
      if (left <= wanted) {
        this.#pending.shift();
        send(this.#sentOfFirst === 0 ? first : first.subarray(this.#sentOfFirst));
        this.#sentOfFirst = 0;
        wanted -= left;
      } else {
        send(first.subarray(this.#sentOfFirst, this.#sentOfFirst + wanted));
        this.#sentOfFirst += wanted;
        return;
      }
    }
  }

  /** Lets the writer go on if there is room. */
  wakeWriter(): void {
    if (this.#writer === undefined || this.pendingBytes > WRITE_LOW_WATER) return;
    this.#writer.resolve();
    this.#writer = undefined;
  }

  #finishIfDone(): void {
    if (this.#readEnded && this.#finSent) this.#owner.onFinished(this);
  }

  #abandon(readError: LeanError | undefined, writeError: LeanError | undefined): void {
    this.#abandoned = true;
    if (readError !== undefined) {
      this.#putBack = undefined;
      this.#dropReceived();
      this.#readError ??= readError;
      this.#reader?.reject(this.#readError);
      this.#reader = undefined;
    }
    if (writeError !== undefined) this.#dropPending(writeError);
  }

  #dropReceived(): void {
    const bytes = this.buffered;
    this.#received.length = 0;
    this.#block = undefined;
    this.buffered = 0;
    if (bytes > 0) this.#owner.onConsumed(this, bytes);
  }

  #dropPending(error: LeanError): void {
    this.#pending.length = 0;
    this.#sentOfFirst = 0;
    this.pendingBytes = 0;
    this.#writeError ??= error;
    if (this.#writer === undefined) return;
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
