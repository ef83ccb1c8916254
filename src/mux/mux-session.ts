/** What yamux and mplex share: reading the wire, scheduling frames, and keeping the streams. */

import { type CloseReason, describeClose } from '../close-reason.ts';
import type { Role } from '../connection.ts';
import {
  ConnectionMemory,
  STREAM_RESOURCE_LIMIT_EXCEEDED,
  tooMuchMemory,
} from '../connection-memory.ts';
import { abortedBy } from '../deadline.ts';
import { type ErrorCode, isLeanError, LeanError, messageOf } from '../errors.ts';
import { checkRanges } from '../limit-ranges.ts';
import { StallWatch } from '../stream/stall-watch.ts';
import type { Stream } from '../stream.ts';
import { DEFAULT_MUX_LIMITS, MUX_RANGES, type MuxLimits } from './mux-limits.ts';
import type { MuxStream } from './mux-stream.ts';
import type { Carrier, Muxer } from './muxer.ts';

/** Estimated memory of an open stream beside its data, including the handler that serves it; bytes. */
const STREAM_BYTES = 4096;

/** Estimated memory of a queued control frame; bytes. */
const CONTROL_BYTES = 128;

/** Payload of the largest frame that we send, bytes: with its header it fits into one Noise message. */
export const MAX_FRAME_PAYLOAD = 65_519 - 12;

/** The payload of a frame with at most this many bytes is copied behind the header, into one chunk. */
export const SMALL_FRAME = 1024;

/** The most answers to the peer (pongs, resets) that may be queued; a peer that provokes more is flooding us. */
const MAX_UNSENT_ANSWERS = 4096;

/**
 * How long a dialer holds back the ends of streams while nothing has arrived from the peer; milliseconds. A peer's
 * first bytes arrive after one round trip.
 */
const END_DELAY = 200;

/** The error for a violation of the muxer's protocol by the peer; it ends the connection. */
export const violation = (what: string): LeanError => new LeanError('ERR_PROTOCOL_VIOLATION', what);

/** The base class of the muxers. The abstract members are what their protocols differ in. */
export abstract class MuxSession<S extends MuxStream> implements Muxer {
  readonly closed: Promise<CloseReason>;
  readonly memory: ConnectionMemory;
  readonly stalls: StallWatch;
  protected readonly role: Role;
  protected readonly limits: MuxLimits;
  protected readonly streams = new Map<number, S>();
  /** Streams that the peer opened and that still exist. */
  protected inbound = 0;
  /** Why the connection ended; `undefined` while it is open. */
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
  /** Streams with something to send, in the order of their turns. */
  readonly #ready = new Set<S>();
  #flushScheduled = false;
  /** The wire has no room; it is flushed again after `drain()`. */
  #blocked = false;
  /**
   * Whether ends of streams may be sent. A dialer first waits for bytes from the peer: js-libp2p (3.3) resets a
   * stream whose end arrives before its muxer is set up, and an end in the dialer's first flight would.
   */
  #mayEndStreams: boolean;
  #endTimer: NodeJS.Timeout | undefined;
  /** Set while the wire is not read; resumes reading if there is room again. */
  #resume: (() => void) | undefined;

  constructor(carrier: Carrier, role: Role, limits: Partial<MuxLimits>) {
    this.#carrier = carrier;
    this.#stream = carrier.stream;
    this.role = role;
    this.#mayEndStreams = role === 'listener';
    this.limits = { ...DEFAULT_MUX_LIMITS, ...checkRanges(limits, MUX_RANGES, 'a muxer') };
    this.memory = new ConnectionMemory(this.limits.connectionMemory, STREAM_BYTES, () =>
      this.end(tooMuchMemory(this.limits.connectionMemory)),
    );
    this.stalls = new StallWatch(this.limits.stallTimeout);
    const { promise, resolve } = Promise.withResolvers<CloseReason>();
    this.closed = promise;
    this.#resolveClosed = resolve;
  }

  // What the protocols differ in.

  /** Parses bytes from the wire. The next ones are read when the promise, if any, resolves. @throws LeanError to end the connection. */
  protected abstract receive(chunk: Uint8Array): void | Promise<void>;
  /** Sends what is due for `stream`, at most one frame of payload. @returns whether it has more to send now. */
  protected abstract sendFrames(stream: S): boolean;
  /** Opens a stream of ours. */
  protected abstract createStream(): S;
  /** The frame that announces the end of the connection, if the protocol has one. */
  protected abstract goAway(reason: CloseReason): Uint8Array | undefined;
  /** Whether the peer has announced that it accepts no new streams. */
  protected abstract refusesStreams(): boolean;

  /** Must be called once, at the end of the subclass's constructor. */
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
    // The muxer was proposed lazily, and the peer refused it.
    if (isLeanError(error, 'ERR_PROTOCOL_NOT_SUPPORTED')) this.#errorCode = error.code;
    const code = isLeanError(error, 'ERR_PROTOCOL_VIOLATION') ? 1 : 0;
    this.end({ by: 'error', code, application: false, reason });
  }

  /** Ends the connection, once. */
  protected end(reason: CloseReason): void {
    if (this.ending !== undefined) return;
    // What was written earlier in this turn of the event loop is still sent.
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
    // Nobody will ever read streams that were not accepted.
    for (const stream of this.#waitingStreams) stream.dropUnread();
    this.#ready.clear();
    this.#dropControl();
    this.#waitingStreams = [];
    for (const accept of this.#acceptors.splice(0)) accept(null);
    this.#closing = this.#carrier.close();
    this.#resume?.();
    this.#resolveClosed(reason);
  }

  /** The error of every call on a closed connection. */
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

  /** The application has accepted a stream that the peer opened. */
  protected onAccepted(_stream: S): void {}

  /** Whether the peer may open one more stream. */
  protected hasRoom(): boolean {
    return (
      this.inbound < this.limits.maxStreams &&
      (this.#acceptors.length > 0 || this.#waitingStreams.length < this.limits.acceptBacklog)
    );
  }

  /** Hands a new stream that the peer opened to the application. */
  protected offer(stream: S): void {
    const accept = this.#acceptors.shift();
    if (accept === undefined) {
      this.#waitingStreams.push(stream);
      return;
    }
    this.onAccepted(stream);
    accept(stream);
  }

  /** Registers a new stream. */
  protected add(stream: S): void {
    this.streams.set(stream.key, stream);
    if (stream.inbound) this.inbound++;
    this.memory.addStreams(1);
  }

  /** Removes a stream that has ended in both directions, or was abandoned. Idempotent. */
  protected remove(stream: S): void {
    if (!this.streams.delete(stream.key)) return;
    // Flushing would remove it, too, but does not happen while the wire is blocked.
    this.#ready.delete(stream);
    this.memory.addStreams(-1);
    if (stream.inbound) this.inbound--;
    if (!stream.inbound || !stream.isReset) return;
    // A stream that the peer reset before it was accepted is not handed out.
    const index = this.#waitingStreams.indexOf(stream);
    if (index >= 0) this.#waitingStreams.splice(index, 1);
  }

  // Back-pressure on receiving.

  /** Whether the wire must not be read any further: too much is unread, in all or on `stream`, which just received. */
  protected mustWaitForReaders(_stream: S): boolean {
    return this.memory.isFull;
  }

  /** Goes on with `rest`, the unparsed end of a chunk, when {@link mustWaitForReaders} no longer holds. */
  protected async receiveLater(stream: S, rest: Uint8Array): Promise<void> {
    await this.#untilRead(stream);
    if (this.ending === undefined) await this.receive(rest);
  }

  /**
   * Resolves when the readers have caught up. After `slowReaderTimeout` the streams with the most unread bytes are
   * reset, as they block all others.
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
        // Down to half of what is allowed, so that this does not happen again at once.
        else while (this.memory.unread > unreadShare / 2 && this.#resetSlowest(stream));
        goOn();
      }, this.limits.slowReaderTimeout);
      this.#resume = () => {
        if (this.ending !== undefined || !this.mustWaitForReaders(stream)) goOn();
      };
    });
  }

  /** Resets the stream with the most unread bytes, `stream` among equals. @returns false when no stream has any. */
  #resetSlowest(stream: S): boolean {
    let slowest = stream;
    for (const other of this.streams.values())
      if (other.unreadBytes > slowest.unreadBytes) slowest = other;
    if (slowest.unreadBytes === 0) return false;
    slowest.reset(STREAM_RESOURCE_LIMIT_EXCEEDED);
    return true;
  }

  /** Bytes were read, or discarded. */
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

  /** For `sendFrames`: whether only the end of `stream` is left to send, and may be sent now. */
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

  /** Sends a control frame that answers the peer. @throws ERR_PROTOCOL_VIOLATION when too many answers are unsent. */
  protected sendAnswer(frame: Uint8Array): void {
    if (++this.#unsentAnswers > MAX_UNSENT_ANSWERS) {
      throw violation('the peer sends requests and does not read the answers');
    }
    this.sendControl(frame);
  }

  /** For `sendFrames`: writes to the wire. @returns whether it has room for more. */
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
      // Round robin: a stream with more to send goes behind those that are waiting already.
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
