/** A stream of a muxer: queues in both directions. What yamux and mplex do differently is behind {@link MuxStreamOwner}. */

import { type ConnectionMemory, STREAM_RESOURCE_LIMIT_EXCEEDED } from '../connection-memory.ts';
import { LeanError } from '../errors.ts';
import { ByteQueue } from '../stream/byte-queue.ts';
import { iterate } from '../stream/iterate.ts';
import { ReceiveSide, type ReceiveSource } from '../stream/receive-side.ts';
import { SendSide, type SendSink } from '../stream/send-side.ts';
import type { StallWatch, WaitingWriter } from '../stream/stall-watch.ts';
import { type Stream, StreamResetError } from '../stream.ts';

/** With this many bytes written but not sent, the writer must wait. */
const WRITE_HIGH_WATER = 256 << 10;
/** With fewer unsent bytes than this, a waiting writer goes on. */
const WRITE_LOW_WATER = 128 << 10;
/** Bytes that the peer may still send after `stopSending()`; with more, the stream is reset. */
const STOPPED_ALLOWANCE = 256 << 10;
/** Unread bytes that stay readable after the peer's reset, at most: enough for a multistream-select answer. */
const READABLE_AFTER_RESET = 1024;

/** What a stream needs from its muxer. */
export interface MuxStreamOwner<S> {
  readonly memory: ConnectionMemory;
  readonly stalls: StallWatch;
  /** There is something to send: payload, or the stream's end. */
  onWritable(stream: S): void;
  /** `bytes` received bytes were read, or discarded. */
  onConsumed(stream: S, bytes: number): void;
  /** This side reset the stream. */
  onReset(stream: S, code: number): void;
  /** Both directions have ended. */
  onFinished(stream: S): void;
}

export class MuxStream implements Stream, ReceiveSource, SendSink, WaitingWriter {
  /** Unique within the muxer. */
  readonly key: number;
  /** Whether the peer opened it. */
  readonly inbound: boolean;
  /** Bytes sent so far. */
  sentBytes = 0;

  readonly #owner: MuxStreamOwner<MuxStream>;
  /** The connection's account; `undefined` once both directions have ended, as the stream no longer counts. */
  #memory: ConnectionMemory | undefined;

  readonly #receive: ReceiveSide;
  /** The peer has finished writing. */
  #remoteEnded = false;
  /** Bytes discarded since `stopSending()`; -1 before that. */
  #discarded = -1;

  readonly #send: SendSide;
  readonly #pending = new ByteQueue();
  #finSent = false;

  #abandoned = false;

  constructor(owner: MuxStreamOwner<MuxStream>, key: number, inbound: boolean) {
    this.#owner = owner;
    this.#memory = owner.memory;
    this.#receive = new ReceiveSide(this, owner.memory);
    this.#send = new SendSide(this);
    this.key = key;
    this.inbound = inbound;
  }

  get id(): string {
    return `${this.inbound ? 'in' : 'out'}-${this.key}`;
  }

  /** Bytes received, or put back, but not read. */
  get unreadBytes(): number {
    return this.#receive.bytes;
  }

  /** Bytes written but not sent. */
  get pendingBytes(): number {
    return this.#pending.bytes;
  }

  /** Whether either side abandoned it. */
  get isReset(): boolean {
    return this.#abandoned;
  }

  // The application's side.

  read(into?: Uint8Array, signal?: AbortSignal): Promise<Uint8Array | null> {
    return this.#receive.read(into, signal);
  }

  unread(chunk: Uint8Array): void {
    this.#receive.unread(chunk);
  }

  write(chunk: Uint8Array): boolean {
    this.#send.assertOpen();
    if (chunk.length > 0) {
      this.#pending.push(chunk);
      this.#memory?.addUnsent(chunk.length);
      this.#owner.onWritable(this);
    }
    return this.hasRoom();
  }

  drain(signal?: AbortSignal): Promise<void> {
    return this.#send.drain(signal);
  }

  closeWrite(): void {
    if (this.#send.close()) this.#owner.onWritable(this);
  }

  stopSending(): void {
    if (this.#discarded >= 0 || this.#receive.error !== undefined) return;
    this.#discarded = 0;
    this.#receive.abandon(readAfterStop());
  }

  reset(code = 0): void {
    this.#abandon(code, resetByUs());
  }

  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    return iterate(this);
  }

  /** The peer has taken nothing for `stallTimeout`; stall-watch.ts. */
  onStalled(error: LeanError): void {
    this.#abandon(STREAM_RESOURCE_LIMIT_EXCEEDED, error);
  }

  #abandon(code: number, writeError: LeanError): void {
    const isOver = this.isReset || (this.#remoteEnded && this.#finSent);
    const what = 'the stream was reset by us';
    this.#receive.abandon(new StreamResetError('ERR_STREAM_RESET', code, what, 'local'));
    if (isOver) return;
    this.#abandoned = true;
    this.#endWriting(writeError);
    this.#owner.onReset(this, code);
  }

  // Called by ReceiveSide and SendSide.

  onTaken(bytes: number): void {
    this.#owner.onConsumed(this, bytes);
  }

  hasRoom(mark = WRITE_HIGH_WATER): boolean {
    const { bytes } = this.#pending;
    return bytes < mark && (this.#memory?.mayWrite(bytes) ?? true);
  }

  onWriter(waits: boolean): void {
    if (waits) this.#owner.stalls.add(this);
    else this.#owner.stalls.delete(this);
  }

  // The muxer's side.

  /** Whether the peer may still send: not after its end, or a reset. */
  get isReadable(): boolean {
    return !this.#remoteEnded && !this.isReset;
  }

  /** Receives payload. `piece` is kept, or copied if it is small. */
  push(piece: Uint8Array): void {
    if (this.#discarded >= 0) {
      this.#discarded += piece.length;
      this.#owner.onConsumed(this, piece.length);
      if (this.#discarded > STOPPED_ALLOWANCE) this.reset();
      return;
    }
    this.#receive.push(piece);
  }

  /** The peer has finished writing. */
  onRemoteEnd(): void {
    this.#remoteEnded = true;
    this.#receive.finish();
    this.#finishIfDone();
  }

  /**
   * The peer reset the stream. Unread bytes are discarded, as in QUIC, except for a few on a stream that we opened:
   * a peer that refuses its protocol answers `na` and resets the stream at once.
   */
  onRemoteReset(code: number): void {
    const what = 'the stream was reset by the peer';
    const error = new StreamResetError('ERR_STREAM_RESET', code, what);
    this.#abandoned = true;
    if (!this.inbound && this.unreadBytes <= READABLE_AFTER_RESET) this.#receive.close(error);
    else if (!this.#remoteEnded) this.#receive.abandon(error);
    if (!this.#finSent) this.#endWriting(new StreamResetError('ERR_STREAM_STOPPED', code, what));
    this.#finish();
  }

  /** The connection ended. Bytes received before can still be read. */
  onConnectionClosed(error: LeanError): void {
    this.#receive.close(error);
    this.#endWriting(error);
    this.#receive.release();
    this.#memory = undefined;
  }

  /** Whether `closeWrite()` was called and everything but the end was sent. */
  get isEndDue(): boolean {
    return this.#send.isClosed && this.pendingBytes === 0 && !this.#finSent;
  }

  /** Our end was sent. */
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

  /** Resumes a waiting writer if there is room. */
  wakeWriter(): void {
    if (this.#send.hasWriter && this.hasRoom(WRITE_LOW_WATER)) this.#send.wake();
  }

  #finishIfDone(): void {
    if (this.#remoteEnded && this.#finSent) this.#finish();
  }

  /** Both directions are over: the muxer removes the stream, and its unread bytes are no longer counted. */
  #finish(): void {
    this.#receive.release();
    this.#memory = undefined;
    this.#owner.onFinished(this);
  }

  /** Discards unread bytes. */
  dropUnread(): void {
    this.#receive.dropUnread();
  }

  #endWriting(error: LeanError): void {
    this.#memory?.addUnsent(-this.#pending.bytes);
    this.#pending.clear();
    this.#send.fail(error);
  }
}

const resetByUs = (): LeanError => new LeanError('ERR_STREAM_CLOSED', 'the stream was reset by us');

const readAfterStop = (): LeanError =>
  new LeanError('ERR_STREAM_CLOSED', 'read on a stream that we stopped reading');
