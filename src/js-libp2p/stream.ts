/** A QUIC stream as a js-libp2p stream. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type AbortOptions,
  ConnectionClosedError,
  type EventHandler,
  type Logger,
  type MessageStreamEvents,
  type StreamOptions,
} from '@libp2p/interface';
import { AbstractStream } from '@libp2p/utils';
import { orAborted } from '../deadline.ts';
import { isLeanError, LeanError } from '../errors.ts';
import { type Stream, StreamResetError } from '../stream.ts';
import type { Traffic } from './connection.ts';
import { libp2pErrorOf, resetCodeOf } from './errors.ts';

/**
 * Bytes that are read ahead while a stream is paused or has no listener yet, so that its end and its reset
 * are noticed. Further bytes stay in QUIC, whose flow control stops the peer.
 */
const READ_AHEAD = 64 << 10;

/** What the streams of a connection have read ahead together, bytes. `connectionMemory` does not count it. */
export interface ReadAhead {
  bytes: number;
  /** With more, nothing is read ahead. */
  readonly most: number;
}

/** The events whose listeners learn that the peer has finished. */
const FINISH_EVENTS = ['message', 'remoteCloseWrite', 'end'];

/** Chunks are handed to QUIC in pieces of this size while there is room; bytes. */
const PIECE = 256 << 10;

export interface QuicStreamInit extends StreamOptions {
  readonly stream: Stream;
  readonly ahead: ReadAhead;
  /** Is called with the bytes that the stream carries. */
  readonly traffic?: Traffic | undefined;
  readonly direction: 'inbound' | 'outbound';
  readonly protocol?: string;
  readonly log: Logger;
}

type SendResult = ReturnType<AbstractStream['sendData']>;
type SendList = Parameters<AbstractStream['sendData']>[0];

export class QuicStream extends AbstractStream {
  readonly #stream: Stream;
  readonly #ahead: ReadAhead;
  /** How much of it is this stream's; `undefined` once it is closed. */
  #aheadBytes: number | undefined = 0;
  readonly #traffic: Traffic | undefined;
  /** Resumes reading, which waits for the stream to be consumed. */
  #goOn: (() => void) | undefined;
  #reading = true;
  #waitingForRoom = false;
  /** Resolves the promises of `onDrain()`. */
  #drained: PromiseWithResolvers<void> | undefined;
  /** The connection has ended: what was received before is still read. */
  #connectionEnded = false;
  /** The error of the peer's reset. */
  #reset: StreamResetError | undefined;

  constructor({ stream, ahead, traffic, ...init }: QuicStreamInit) {
    super({ ...init, id: stream.id });
    this.#stream = stream;
    this.#ahead = ahead;
    this.#traffic = traffic;
    // Added before any other listener, as it completes the error.
    this.addEventListener('close', ({ error }) => {
      ahead.bytes -= this.#aheadBytes ?? 0;
      this.#aheadBytes = undefined;
      this.#drained?.reject(error ?? new ConnectionClosedError('the stream was closed'));
      this.#drained = undefined;
      const by = this.#reset;
      if (by !== undefined && error !== undefined) {
        Object.assign(error, { resetCode: by.resetCode, cause: by });
      }
    });
    this.#readAll();
  }

  // ── Called by AbstractStream ─────────────────────────────────────────────────────────────────

  /** Sends as much as there is room for; the rest stays in `writeBuffer`. */
  override sendData(data: SendList): SendResult {
    let sentBytes = 0;
    try {
      for (const chunk of data) {
        for (let at = 0; at < chunk.length; at += PIECE) {
          const piece = chunk.length <= PIECE ? chunk : chunk.subarray(at, at + PIECE);
          const hasRoom = this.#stream.write(piece);
          sentBytes += piece.length;
          this.#traffic?.sent(piece);
          if (hasRoom) continue;
          this.#waitForRoom();
          return { sentBytes, canSendMore: false };
        }
      }
    } catch (error) {
      if (!isLeanError(error, 'ERR_STREAM_STOPPED')) throw libp2pErrorOf(error);
      this.#peerStoppedReading();
    }
    return { sentBytes: data.byteLength, canSendMore: true };
  }

  /** Replaces the method of `@libp2p/utils` 7.4, which resolves at once when called a second time. */
  override onDrain({ signal }: AbortOptions = {}): Promise<void> {
    if (!this.writableNeedsDrain) return Promise.resolve();
    this.#drained ??= Promise.withResolvers();
    const { promise } = this.#drained;
    if (signal === undefined) return promise;
    return orAborted(promise, signal, 'waiting for room to send').catch((error) => {
      throw libp2pErrorOf(error);
    });
  }

  override sendReset(error: Error): void {
    this.#stream.reset(resetCodeOf(error));
    this.#wake();
  }

  /** Reading stops after {@link READ_AHEAD}. */
  override sendPause(): void {}

  override sendResume(): void {
    this.#wake();
  }

  override async sendCloseWrite(): Promise<void> {
    this.#stream.closeWrite();
    this.#wake();
  }

  /** A peer that sends more is told to stop; one that only finishes is not. */
  override async sendCloseRead(): Promise<void> {
    this.#wake();
  }

  protected override dispatchReadBuffer(): void {
    super.dispatchReadBuffer();
    this.#countAhead();
    this.#wake();
  }

  override addEventListener<K extends keyof MessageStreamEvents>(
    type: K,
    listener: EventHandler<MessageStreamEvents[K]> | null,
    options?: Parameters<EventTarget['addEventListener']>[2],
  ): void {
    super.addEventListener(type, listener, options);
    // The constructors add listeners for these two, before the fields of this class are initialised.
    if (type !== 'close' && type !== 'drain') this.#wake();
  }

  override onRemoteReset(): void {
    if (this.status !== 'open' && this.status !== 'closing') return;
    this.#stream.reset(0);
    super.onRemoteReset();
  }

  /** Ends when what was received before has been read. */
  override onTransportClosed(error?: Error): void {
    if (!this.#reading || (this.writeStatus === 'closed' && this.remoteWriteStatus === 'closed')) {
      super.onTransportClosed(error);
      return;
    }
    this.#connectionEnded = true;
    this.#wake();
  }

  // ── Reading ──────────────────────────────────────────────────────────────────────────────────

  /** Never rejects. */
  async #readAll(): Promise<void> {
    try {
      for (;;) {
        const chunk = await this.#stream.read();
        if (chunk === null) break;
        if (this.readStatus === 'closing' || this.readStatus === 'closed') {
          this.#stream.stopSending(0);
          break;
        }
        if (this.#takes(chunk)) {
          this.#traffic?.received(chunk);
          this.onData(chunk);
        } else if (this.#connectionEnded) {
          throw new LeanError(
            'ERR_CONNECTION_CLOSED',
            'the connection ended before all bytes were read',
          );
        } else {
          this.#stream.unread(chunk);
          await this.#woken();
        }
      }
      // The last bytes of protocol negotiation may have come with the peer's FIN. js-libp2p handles them in this turn, and
      // then calls the protocol's handler, which must learn of the FIN.
      if (this.protocol === '') await nextTurn();
      while (!this.#maySayFinished()) await this.#woken();
      this.#reading = false;
      this.onRemoteCloseWrite();
    } catch (error) {
      this.#reading = false;
      this.#readFailed(error);
    }
    if (this.#connectionEnded) this.onTransportClosed();
  }

  /** Whether `chunk` may be passed on: somebody listens, or it fits into the read-ahead. */
  #takes({ length }: Uint8Array): boolean {
    if (this.readStatus === 'readable' && this.listenerCount('message') > 0) return true;
    const buffered = this.readBufferLength + length;
    if (this.#connectionEnded) return buffered <= this.maxReadBufferLength;
    const { bytes, most } = this.#ahead;
    return buffered <= Math.min(READ_AHEAD, this.maxReadBufferLength) && bytes + length <= most;
  }

  #countAhead(): void {
    if (this.#aheadBytes === undefined) return;
    const now = this.readBufferLength;
    this.#ahead.bytes += now - this.#aheadBytes;
    this.#aheadBytes = now;
  }

  /**
   * Whether `remoteCloseWrite` may be dispatched. Iterators of js-libp2p's streams end with it even if there are bytes to
   * read, and not at all if it was dispatched before they were created. So it is dispatched after the bytes, and when
   * somebody listens; or when this side has finished the stream.
   */
  #maySayFinished(): boolean {
    if (this.#connectionEnded || this.status !== 'open') return true;
    if (this.readStatus === 'closing' || this.readStatus === 'closed') return true;
    if (this.readBufferLength > 0) return false;
    // `close()` calls `sendCloseWrite()`, which wakes the reader, before it says that the stream is closed.
    if (this.writeStatus === 'closing' || this.writeStatus === 'closed') return true;
    return FINISH_EVENTS.some((it) => this.listenerCount(it) > 0);
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#goOn = resolve;
    });
  }

  #wake(): void {
    const goOn = this.#goOn;
    this.#goOn = undefined;
    goOn?.();
  }

  #readFailed(error: unknown): void {
    if (error instanceof StreamResetError && error.by === 'remote') {
      this.#reset = error;
      this.onRemoteReset();
    } else if (isLeanError(error, 'ERR_CONNECTION_CLOSED')) {
      // The peer had not finished: what arrived must not look like the whole.
      this.#connectionEnded = false;
      super.onTransportClosed(new ConnectionClosedError(error.message));
    } else if (this.status === 'open') this.abort(libp2pErrorOf(error));
  }

  // ── Writing ──────────────────────────────────────────────────────────────────────────────────

  #waitForRoom(): void {
    if (this.#waitingForRoom) return;
    this.#waitingForRoom = true;
    this.#stream.drain().then(
      () => {
        this.#waitingForRoom = false;
        this.#hasRoom();
      },
      (error) => {
        this.#waitingForRoom = false;
        if (isLeanError(error, 'ERR_STREAM_STOPPED')) this.#peerStoppedReading();
        // The reading side reports every other error.
      },
    );
  }

  #hasRoom(): void {
    this.safeDispatchEvent('drain');
    this.#drained?.resolve();
    this.#drained = undefined;
  }

  #peerStoppedReading(): void {
    this.onRemoteCloseRead();
    if (this.writeStatus === 'closed') return;
    const closing = this.writeStatus === 'closing';
    if (!closing) this.writeStatus = 'closed';
    // Wakes those who wait for room: their next write fails.
    this.#hasRoom();
    if (!closing && this.remoteWriteStatus === 'closed') this.onTransportClosed();
  }
}
