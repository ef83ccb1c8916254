/** A QUIC stream as a js-libp2p stream. */

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
 * Bytes that are taken in for a stream that is paused, or that nobody listens to yet, so that its end and
 * its reset are noticed; what comes after them stays with QUIC, whose window holds up the peer.
 */
const READ_AHEAD = 64 << 10;

/** Who listens to one of these is told that the peer has finished. */
const FINISH_EVENTS = ['message', 'remoteCloseWrite', 'end'];

/** A chunk is handed to QUIC in pieces of this, as far as there is room. */
const PIECE = 256 << 10;

export interface QuicStreamInit extends StreamOptions {
  readonly stream: Stream;
  /** Told of what the stream carries. */
  readonly traffic?: Traffic | undefined;
  readonly direction: 'inbound' | 'outbound';
  readonly protocol?: string;
  readonly log: Logger;
}

type SendResult = ReturnType<AbstractStream['sendData']>;
type SendList = Parameters<AbstractStream['sendData']>[0];

export class QuicStream extends AbstractStream {
  readonly #stream: Stream;
  readonly #traffic: Traffic | undefined;
  /** Lets the reader go on that waits for somebody to take what came. */
  #goOn: (() => void) | undefined;
  #reading = true;
  #waitingForRoom = false;
  /** For those who wait in `onDrain()`. */
  #drained: PromiseWithResolvers<void> | undefined;
  /** The connection has ended: what came before is taken in, and no more will come. */
  #connectionEnded = false;
  /** What the peer reset the stream with. */
  #reset: StreamResetError | undefined;

  constructor({ stream, traffic, ...init }: QuicStreamInit) {
    super({ ...init, id: stream.id });
    this.#stream = stream;
    this.#traffic = traffic;
    // Before anybody else listens.
    this.addEventListener('close', ({ error }) => {
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

  /** Takes no more than there is room for: what is left waits in `writeBuffer`. */
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

  /** In place of that of `@libp2p/utils` 7.4, which resolves at once when it is called a second time. */
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

  /** The flow stops where it is: {@link READ_AHEAD}. */
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
    this.#wake();
  }

  override addEventListener<K extends keyof MessageStreamEvents>(
    type: K,
    listener: EventHandler<MessageStreamEvents[K]> | null,
    options?: Parameters<EventTarget['addEventListener']>[2],
  ): void {
    super.addEventListener(type, listener, options);
    // The constructors' come before there is anything to wake.
    if (type !== 'close' && type !== 'drain') this.#wake();
  }

  override onRemoteReset(): void {
    if (this.status !== 'open' && this.status !== 'closing') return;
    this.#stream.reset(0);
    super.onRemoteReset();
  }

  /** Ends when what came before has been taken in. */
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
          throw new LeanError('ERR_CONNECTION_CLOSED', 'the connection ended, and nobody read');
        } else {
          this.#stream.unread(chunk);
          await this.#woken();
        }
      }
      while (!this.#maySayFinished()) await this.#woken();
      this.#reading = false;
      this.onRemoteCloseWrite();
    } catch (error) {
      this.#reading = false;
      this.#readFailed(error);
    }
    if (this.#connectionEnded) this.onTransportClosed();
  }

  #takes(chunk: Uint8Array): boolean {
    if (this.readStatus === 'readable' && this.listenerCount('message') > 0) return true;
    const most = this.#connectionEnded ? Number.POSITIVE_INFINITY : READ_AHEAD;
    return this.readBufferLength + chunk.length <= Math.min(most, this.maxReadBufferLength);
  }

  /**
   * Iterators of js-libp2p's streams end with `remoteCloseWrite` even if there are bytes to read, and not at all
   * if it came before them: so it comes after the bytes, and when somebody listens. A stream that this side
   * has finished does not wait for that.
   */
  #maySayFinished(): boolean {
    if (this.#connectionEnded || this.status !== 'open') return true;
    if (this.readStatus === 'closing' || this.readStatus === 'closed') return true;
    if (this.readBufferLength > 0) return false;
    return this.writeStatus === 'closed' || FINISH_EVENTS.some((it) => this.listenerCount(it) > 0);
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
      // The peer had not finished: nobody is to take what came for all there was.
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
        // Of everything else reading tells, too.
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
    // Those who wait for room find out.
    this.#hasRoom();
    if (!closing && this.remoteWriteStatus === 'closed') this.onTransportClosed();
  }
}
