/** Streams over one wire: what yamux and mplex share. */

import { type CloseReason, describeClose } from '../close-reason.ts';
import type { Role } from '../connection.ts';
import {
  ConnectionMemory,
  DEFAULT_MEMORY_LIMITS,
  type MemoryLimits,
  STREAM_RESOURCE_LIMIT_EXCEEDED,
  tooMuchMemory,
} from '../connection-memory.ts';
import { abortedBy } from '../deadline.ts';
import { defer } from '../deferred.ts';
import { type ErrorCode, isLeanError, LeanError, messageOf } from '../errors.ts';
import { StallWatch } from '../stream/stall-watch.ts';
import type { Stream } from '../stream.ts';
import type { MuxStream } from './mux-stream.ts';

/** The harness's names; `/yamux/1.0.0` and `/mplex/6.7.0` on the wire. */
export type MuxerName = 'yamux' | 'mplex';

/** Members as in `Connection`. */
export interface Muxer {
  openStream(signal?: AbortSignal): Promise<Stream>;
  acceptStream(): Promise<Stream | null>;
  close(code?: number, reason?: string): Promise<void>;
  readonly closed: Promise<CloseReason>;
  readonly memory: ConnectionMemory;
}

/** What a muxer runs over: the secured wire, possibly with a lazy negotiation in front. */
export interface Carrier {
  readonly stream: Stream;
  /** As `Wire.close()`. */
  close(): Promise<void>;
}

export type CreateMuxer = (carrier: Carrier, role: Role, limits?: Partial<MuxLimits>) => Muxer;

/** Limits of one connection; bytes and milliseconds. */
export interface MuxLimits extends MemoryLimits {
  /** Streams that the peer may have open at once; further ones are reset. */
  readonly maxStreams: number;
  /** Streams of the peer's that may wait for `acceptStream()`; further ones are reset. */
  readonly acceptBacklog: number;
  /** yamux: receive window that a stream may grow to; it starts with 256 KiB. */
  readonly maxWindow: number;
  /** yamux: by how much the windows of all streams together may grow. */
  readonly windowBudget: number;
  /** mplex: bytes received and not yet read on one stream before the connection is not read on. */
  readonly streamBuffer: number;
  /** How long unread bytes may block the connection before the streams with the most are reset. */
  readonly slowReaderTimeout: number;
}

export const DEFAULT_MUX_LIMITS: MuxLimits = {
  ...DEFAULT_MEMORY_LIMITS,
  maxStreams: 1_024,
  acceptBacklog: 256,
  maxWindow: 16 << 20,
  windowBudget: 64 << 20,
  streamBuffer: 1 << 20,
  slowReaderTimeout: 5_000,
};

/** What a stream costs beside its bytes, with the handler that serves it. */
const STREAM_BYTES = 4096;

/** The same for a control frame that waits. */
const CONTROL_BYTES = 128;

/** Payload of the largest frame we send: it fits into one Noise message with its header. */
export const MAX_FRAME_PAYLOAD = 65_519 - 12;

/** Frames of at most this many bytes leave in one chunk, header and payload copied together. */
export const SMALL_FRAME = 1024;

/** Answers to the peer (pongs, resets) that may be unsent; a peer that causes more is flooding us. */
const MAX_UNSENT_ANSWERS = 4096;

/**
 * How long a dialer holds back the ends of streams while the peer has not sent anything yet, ms: the
 * first bytes from any peer take one round trip.
 */
const END_DELAY = 200;

/** A violation of the muxer's protocol by the peer: ends the connection. */
export const violation = (what: string): LeanError => new LeanError('ERR_PROTOCOL_VIOLATION', what);

/**
 * Base of the muxers: reads the carrier, schedules frames, keeps the streams. The protocol itself is in
 * the abstract members.
 */
export abstract class MuxSession<S extends MuxStream> implements Muxer {
  readonly closed: Promise<CloseReason>;
  readonly memory: ConnectionMemory;
  readonly stalls: StallWatch;
  protected readonly role: Role;
  protected readonly limits: MuxLimits;
  protected readonly streams = new Map<number, S>();
  /** Streams that the peer opened and that still exist. */
  protected inbound = 0;
  /** How it ended; set once. */
  protected ending: CloseReason | undefined;

  readonly #carrier: Carrier;
  readonly #stream: Stream;
  readonly #resolveClosed: (reason: CloseReason) => void;
  #closing: Promise<void> | undefined;
  #errorCode: ErrorCode = 'ERR_CONNECTION_CLOSED';

  #waitingStreams: S[] = [];
  #acceptors: ((stream: S | null) => void)[] = [];

  /** Control frames to send before any data. */
  #control: Uint8Array[] = [];
  #unsentAnswers = 0;
  /** Streams with something to send, in turn. */
  readonly #ready = new Set<S>();
  #flushScheduled = false;
  #blocked = false;
  /**
   * Whether ends of streams may be sent. A dialer waits for the peer's first bytes: js-libp2p (3.3) resets a
   * stream whose end arrives before its muxer is set up, as it would with the first flight.
   */
  #mayEndStreams: boolean;
  #endTimer: NodeJS.Timeout | undefined;
  /** Lets the reading of the wire go on. */
  #resume: (() => void) | undefined;

  constructor(carrier: Carrier, role: Role, limits: Partial<MuxLimits>) {
    this.#carrier = carrier;
    this.#stream = carrier.stream;
    this.role = role;
    this.#mayEndStreams = role === 'listener';
    this.limits = { ...DEFAULT_MUX_LIMITS, ...limits };
    this.memory = new ConnectionMemory(this.limits.connectionMemory, STREAM_BYTES, () =>
      this.end(tooMuchMemory(this.limits.connectionMemory)),
    );
    this.stalls = new StallWatch(this.limits.stallTimeout);
    const { promise, resolve } = defer<CloseReason>();
    this.closed = promise;
    this.#resolveClosed = resolve;
  }

  // What a protocol adds.

  /** Takes bytes off the wire. @throws LeanError to end the connection. */
  protected abstract receive(chunk: Uint8Array): void | Promise<void>;
  /** Writes at most one frame of payload; true when the stream could send more at once. */
  protected abstract sendFrames(stream: S): boolean;
  protected abstract createStream(): S;
  /** The frame that tells the peer of the end, if the protocol has one. */
  protected abstract goAway(reason: CloseReason): Uint8Array | undefined;
  /** Whether the peer has said that it takes no new streams. */
  protected abstract refusesStreams(): boolean;

  /** Must be called once, when the protocol's own fields are there. */
  protected start(): void {
    this.#run().catch((error) => this.fail(error));
  }

  async #run(): Promise<void> {
    for (;;) {
      const chunk = await this.#stream.read();
      if (this.ending !== undefined) return;
      if (chunk === null) break;
      this.#letStreamsEnd();
      const pause = this.receive(chunk);
      if (pause !== undefined) await pause;
    }
    this.onWireEnd();
  }

  /** The peer has closed the wire. */
  protected onWireEnd(): void {
    this.end({ by: 'remote', code: 0, application: true, reason: '' });
  }

  protected fail(error: unknown): void {
    const reason = messageOf(error);
    // A muxer that was proposed lazily, and refused.
    if (isLeanError(error, 'ERR_PROTOCOL_NOT_SUPPORTED')) this.#errorCode = error.code;
    const code = isLeanError(error, 'ERR_PROTOCOL_VIOLATION') ? 1 : 0;
    this.end({ by: 'error', code, application: false, reason });
  }

  /** Ends the connection, once. */
  protected end(reason: CloseReason): void {
    if (this.ending !== undefined) return;
    // What was written before a close in the same turn still leaves.
    this.#letStreamsEnd();
    if (reason.by === 'local') this.#flush();
    if (this.ending !== undefined) return;
    this.ending = reason;
    try {
      const frame = reason.by === 'remote' ? undefined : this.goAway(reason);
      if (frame !== undefined) this.#stream.write(frame);
    } catch {
      // The wire is gone already.
    }
    const error = this.#closedError(reason);
    for (const stream of this.streams.values()) stream.onConnectionClosed(error);
    this.memory.addStreams(-this.streams.size);
    this.streams.clear();
    // Nobody will ever read those.
    for (const stream of this.#waitingStreams) stream.dropUnread();
    this.#ready.clear();
    this.#dropControl();
    this.#waitingStreams = [];
    for (const accept of this.#acceptors.splice(0)) accept(null);
    this.#closing = this.#carrier.close();
    this.#resume?.();
    this.#resolveClosed(reason);
  }

  /** What everything on a closed connection throws. */
  #closedError(reason: CloseReason): LeanError {
    return new LeanError(this.#errorCode, describeClose(reason));
  }

  close(code = 0, reason = ''): Promise<void> {
    this.end({ by: 'local', code, application: true, reason });
    return this.#closing ?? Promise.resolve();
  }

  openStream(signal?: AbortSignal): Promise<Stream> {
    if (signal?.aborted === true) return Promise.reject(abortedBy(signal, 'opening a stream'));
    if (this.ending !== undefined) return Promise.reject(this.#closedError(this.ending));
    if (this.refusesStreams()) {
      const error = new LeanError('ERR_CONNECTION_CLOSED', 'the peer is closing the connection');
      return Promise.reject(error);
    }
    try {
      return Promise.resolve(this.createStream());
    } catch (error) {
      return Promise.reject(error);
    }
  }

  acceptStream(): Promise<Stream | null> {
    const stream = this.#waitingStreams.shift();
    if (stream !== undefined) {
      this.onAccepted(stream);
      return Promise.resolve(stream);
    }
    if (this.ending !== undefined) return Promise.resolve(null);
    return new Promise((resolve) => this.#acceptors.push(resolve));
  }

  /** The application has taken a stream of the peer's. */
  protected onAccepted(_stream: S): void {}

  /** Whether one more stream of the peer's may be taken. */
  protected hasRoom(): boolean {
    return (
      this.inbound < this.limits.maxStreams &&
      (this.#acceptors.length > 0 || this.#waitingStreams.length < this.limits.acceptBacklog)
    );
  }

  /** Hands a new stream of the peer's to the application. */
  protected offer(stream: S): void {
    const accept = this.#acceptors.shift();
    if (accept === undefined) {
      this.#waitingStreams.push(stream);
      return;
    }
    this.onAccepted(stream);
    accept(stream);
  }

  /** A new stream. */
  protected remember(stream: S): void {
    this.streams.set(stream.key, stream);
    if (stream.inbound) this.inbound++;
    this.memory.addStreams(1);
  }

  /** A stream has ended in both directions, or was abandoned. */
  protected forget(stream: S): void {
    if (!this.streams.delete(stream.key)) return;
    // While the wire is blocked nobody else takes it out.
    this.#ready.delete(stream);
    this.memory.addStreams(-1);
    if (stream.inbound) this.inbound--;
    if (!stream.inbound || !stream.isReset) return;
    // A stream that the peer reset before it was accepted is not handed out.
    const index = this.#waitingStreams.indexOf(stream);
    if (index >= 0) this.#waitingStreams.splice(index, 1);
  }

  // Back-pressure on what comes in.

  /** Whether the wire must not be read on: too much is unread, or of `stream`, which just received. */
  protected isHeldUp(_stream: S): boolean {
    return this.memory.isFull;
  }

  /** Goes on with `rest` of what came off the wire when {@link isHeldUp} no longer holds. */
  protected async receiveLater(stream: S, rest: Uint8Array): Promise<void> {
    await this.#untilRead(stream);
    if (this.ending === undefined) await this.receive(rest);
  }

  /**
   * Resolves when the readers have caught up. After a while, the streams with the most unread bytes are reset,
   * as all streams share the wire.
   */
  #untilRead(stream: S): Promise<void> {
    return new Promise((resolve) => {
      const goOn = (): void => {
        clearTimeout(timer);
        this.#resume = undefined;
        resolve();
      };
      const timer = setTimeout(() => {
        const { isFull, unreadShare } = this.memory;
        if (!isFull) stream.reset(STREAM_RESOURCE_LIMIT_EXCEEDED);
        // More than necessary, so that this does not happen again at once.
        else while (this.memory.unread > unreadShare / 2 && this.#resetSlowest(stream));
        goOn();
      }, this.limits.slowReaderTimeout);
      this.#resume = () => {
        if (this.ending !== undefined || !this.isHeldUp(stream)) goOn();
      };
    });
  }

  /** `stream` itself where none has more. False: nothing was left to read. */
  #resetSlowest(stream: S): boolean {
    let slowest = stream;
    for (const other of this.streams.values())
      if (other.unreadBytes > slowest.unreadBytes) slowest = other;
    if (slowest.unreadBytes === 0) return false;
    slowest.reset(STREAM_RESOURCE_LIMIT_EXCEEDED);
    return true;
  }

  /** Something was read, or will not be. */
  protected onRead(): void {
    this.#resume?.();
  }

  // Sending.

  /** `stream` has something to send. */
  schedule(stream: S): void {
    if (this.ending !== undefined) return;
    this.#ready.add(stream);
    this.#scheduleFlush();
  }

  /** For `sendFrames`: nothing of `stream` is left to send but its end, which is to follow now. */
  protected mayEnd(stream: S): boolean {
    if (!stream.isEndDue) return false;
    if (!this.#mayEndStreams) this.#endTimer ??= setTimeout(this.#letStreamsEnd, END_DELAY);
    return this.#mayEndStreams;
  }

  readonly #letStreamsEnd = (): void => {
    if (this.#mayEndStreams) return;
    this.#mayEndStreams = true;
    clearTimeout(this.#endTimer);
    for (const stream of this.streams.values()) if (stream.isEndDue) this.schedule(stream);
  };

  protected sendControl(frame: Uint8Array): void {
    if (this.ending !== undefined) return;
    this.#control.push(frame);
    this.memory.addUnsent(CONTROL_BYTES);
    this.#scheduleFlush();
  }

  #dropControl(): void {
    this.memory.addUnsent(-CONTROL_BYTES * this.#control.length);
    this.#control = [];
  }

  /** Sends a control frame that the peer provoked. @throws when it provokes without reading. */
  protected sendAnswer(frame: Uint8Array): void {
    if (++this.#unsentAnswers > MAX_UNSENT_ANSWERS) {
      throw violation('the peer sends requests and does not read the answers');
    }
    this.sendControl(frame);
  }

  /** For `sendFrames`: writes to the wire; false when it is full. */
  protected send(chunk: Uint8Array): boolean {
    if (!this.#stream.write(chunk)) this.#blocked = true;
    return !this.#blocked;
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled || this.#blocked) return;
    this.#flushScheduled = true;
    process.nextTick(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    if (this.ending !== undefined || this.#blocked) return;
    try {
      if (this.#control.length > 0) {
        const frames = this.#control;
        this.#dropControl();
        this.#unsentAnswers = 0;
        for (const frame of frames) this.send(frame);
      }
      // In turn: one with more to send comes after those that wait already.
      for (const stream of this.#ready) {
        if (this.#blocked) break;
        this.#ready.delete(stream);
        if (this.sendFrames(stream)) this.#ready.add(stream);
      }
      if (this.#blocked) this.#stream.drain().then(this.#onDrain, this.#onWriteError);
    } catch (error) {
      this.fail(error);
    }
  };

  readonly #onDrain = (): void => {
    this.#blocked = false;
    this.#flush();
  };

  readonly #onWriteError = (error: unknown): void => this.fail(error);
}
