/** A connection of quinn whose peer passed `authenticate`; `QuicConnection`'s contract. */

import { type CloseReason, describeClose } from '../../close-reason.ts';
import { ConnectionMemory, tooMuchMemory } from '../../connection-memory.ts';
import type { ConnectionStats } from '../../connection-stats.ts';
import { abortedBy } from '../../deadline.ts';
import { LeanError, messageOf } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';
import { StallWatch } from '../../stream/stall-watch.ts';
import type { Stream } from '../../stream.ts';
import type { QuicConnection } from '../engine.ts';
import { type QuicLimits, windowsOf } from '../limits.ts';
import { describeTransportError } from '../transport-errors.ts';
import { BLOCKED, type NativeLimits } from './binding.ts';
import type { ConnectionEvents, Driver } from './driver.ts';
import { QuinnStream, type StreamOwner } from './stream.ts';

/** How long to wait until quinn reports that a close was sent, which takes it up to 300 ms and three round trips; milliseconds. */
const CLOSE_WAIT = 2_000;

/** Estimated memory of an open stream beside its data, including the handler that serves it; bytes. */
const STREAM_BYTES = 4096;
/** With every so many new streams, the open ones are checked for an end that nobody has read. */
const LOOK_EVERY = 32;

/** The windows that keep a connection's memory in quinn within `limits`. */
export const nativeWindowsOf = (
  limits: QuicLimits,
): Pick<NativeLimits, 'connectionWindow' | 'streamWindow' | 'sendWindow'> => {
  const { stream, connection } = windowsOf(limits);
  return {
    connectionWindow: connection,
    streamWindow: stream,
    // Half of what may be unsent; the other half is for the streams' queues.
    sendWindow: Math.floor(limits.connectionMemory / 8),
  };
};

interface Opener {
  readonly resolve: (stream: Stream) => void;
  readonly reject: (error: Error) => void;
}

export interface QuinnConnectionOptions {
  readonly role: 'dialer' | 'listener';
  /** The peer's certificate, DER. */
  readonly peerCertificate: Uint8Array;
  readonly remoteAddress: SocketAddress;
  readonly limits: QuicLimits;
  /** Called once, when it has ended and was released in quinn. */
  readonly onReleased: () => void;
}

/**
 * Tells quinn that connection number `handle` is accepted: from now on it cannot be evicted, and there will be an event
 * for its end. It must be handed up in this turn of the event loop.
 *
 * @returns the peer's address; `undefined` if the network thread had evicted the connection before, which another event
 * reports.
 */
export const admit = ({ native, engine }: Driver, handle: number): SocketAddress | undefined => {
  native.admit(engine, handle);
  return native.remoteAddress(engine, handle) ?? undefined;
};

export class QuinnConnection implements QuicConnection, ConnectionEvents, StreamOwner {
  readonly remoteAddress: SocketAddress;
  readonly peerCertificate: Uint8Array;
  readonly closed: Promise<CloseReason>;
  /**
   * quinn does not report how much it buffers. While it has no room for a stream, its windows count as full;
   * otherwise only the streams' queues are counted.
   */
  readonly memory: ConnectionMemory;

  /** Made at the first use, as most connections need none. */
  #stalls: StallWatch | undefined;
  /** Set at the first use: it takes system calls. */
  #localAddress: SocketAddress | undefined;
  readonly #driver: Driver;
  /** Its number in the binding. */
  readonly #handle: number;
  readonly #onReleased: () => void;
  readonly #streams = new Set<QuinnStream>();
  /** How many of them quinn has no room for. */
  #blocked = 0;
  readonly #stallTimeout: number;
  readonly #windows: ReturnType<typeof nativeWindowsOf>;
  readonly #incoming: QuinnStream[] = [];
  readonly #accepters: ((stream: Stream | null) => void)[] = [];
  /** Made at the first use. */
  #openers: Set<Opener> | undefined;
  /** QUIC stream ids (RFC 9000 section 2.1) of the next streams; quinn assigns them in order. */
  #nextOpened: number;
  /** The number of streams so far. */
  #tracked = 0;
  #nextAccepted: number;

  #ended: CloseReason | undefined;
  /** Made at the first use. */
  #endedError: LeanError | undefined;
  #closing: Promise<void> | undefined;
  /** `close()` was called before the connection ended otherwise. */
  #closesItself = false;
  #resolveCloseSent = nothing;
  #released = false;
  #lastStats: ConnectionStats | undefined;
  /** Streams to free when the close has been sent: before that, quinn would finish them. */
  readonly #unfreed: number[] = [];
  #resolveClosed: (reason: CloseReason) => void = nothing;

  /** For connection number `handle`, for which {@link admit} was called in this turn of the event loop. */
  constructor(driver: Driver, handle: number, options: QuinnConnectionOptions) {
    this.#driver = driver;
    this.#handle = handle;
    this.peerCertificate = options.peerCertificate;
    this.#onReleased = options.onReleased;
    const { connectionMemory, stallTimeout } = options.limits;
    this.#stallTimeout = stallTimeout;
    this.memory = new ConnectionMemory(connectionMemory, STREAM_BYTES, () => {
      const { code, reason } = tooMuchMemory(connectionMemory);
      this.close(code, reason).catch(() => {});
    });
    this.#windows = nativeWindowsOf(options.limits);
    const dialed = options.role === 'dialer';
    this.#nextOpened = dialed ? 0 : 1;
    this.#nextAccepted = dialed ? 1 : 0;
    this.remoteAddress = options.remoteAddress;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    driver.connections.set(handle, this);
  }

  get stalls(): StallWatch {
    this.#stalls ??= new StallWatch(this.#stallTimeout);
    return this.#stalls;
  }

  get localAddress(): SocketAddress {
    const { native, engine } = this.#driver;
    this.#localAddress ??= native.localAddress(engine, this.#handle) ?? NOWHERE;
    return this.#localAddress;
  }

  async openStream(signal?: AbortSignal): Promise<Stream> {
    if (signal?.aborted === true) throw abortedBy(signal, 'opening a stream');
    if (this.#ended !== undefined) throw this.#errorOf(this.#ended);
    if (this.#openers === undefined || this.#openers.size === 0) {
      const stream = this.#open();
      if (stream !== undefined) return stream;
    }
    this.#openers ??= new Set();
    const openers = this.#openers;
    return new Promise<Stream>((resolve, reject) => {
      const onAbort = (): void => {
        openers.delete(opener);
        reject(abortedBy(signal as AbortSignal, 'opening a stream'));
      };
      const settled = (): void => signal?.removeEventListener('abort', onAbort);
      const opener: Opener = {
        resolve: (stream) => {
          settled();
          resolve(stream);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      openers.add(opener);
    });
  }

  acceptStream(): Promise<Stream | null> {
    if (this.#ended !== undefined) return Promise.resolve(null);
    const stream = this.#incoming.shift();
    if (stream !== undefined) return Promise.resolve(stream);
    return new Promise((resolve) => this.#accepters.push(resolve));
  }

  close(code = 0, reason = ''): Promise<void> {
    if (this.#closing !== undefined) return this.#closing;
    if (this.#ended !== undefined) return Promise.resolve();
    this.#closesItself = true;
    this.#closing = this.#close(code, reason);
    return this.#closing;
  }

  stats(): ConnectionStats | undefined {
    if (this.#released) return this.#lastStats;
    const { native, engine } = this.#driver;
    return native.stats(engine, this.#handle) ?? undefined;
  }

  // ── Called by the driver ─────────────────────────────────────────────────────────────────────

  streamsOpened(): void {
    if (this.#ended !== undefined) return;
    const { native, engine } = this.#driver;
    for (;;) {
      const handle = native.acceptStream(engine, this.#handle);
      if (handle < 0) return;
      const stream = this.#track(handle, this.#nextAccepted);
      this.#nextAccepted += 4;
      const accept = this.#accepters.shift();
      if (accept === undefined) this.#incoming.push(stream);
      else accept(stream);
    }
  }

  streamsAllowed(): void {
    for (const opener of this.#openers ?? []) {
      const stream = this.#open();
      if (stream === undefined) return;
      this.#openers?.delete(opener);
      opener.resolve(stream);
    }
  }

  /** If we closed it, the close has not been sent yet. */
  over(): void {
    if (this.#closesItself) return;
    this.#end(this.#reasonOfQuinn());
    this.#release();
  }

  closeSent(): void {
    this.#release();
  }

  broken(error: unknown): void {
    const reason = `quinn failed: ${messageOf(error)}`;
    this.#end({ by: 'error', code: 0, application: false, reason });
    this.#release();
  }

  // ── Called by streams ────────────────────────────────────────────────────────────────────────

  setBlocked(blocked: boolean): void {
    const before = this.#blocked;
    this.#blocked += blocked ? 1 : -1;
    if (before > 0 === this.#blocked > 0) return;
    const sign = blocked ? 1 : -1;
    this.memory.addUnsent(sign * this.#windows.sendWindow);
    this.memory.addUnread(sign * this.#windows.connectionWindow);
  }

  forget(stream: QuinnStream): void {
    if (this.#streams.delete(stream)) this.memory.addStreams(-1);
    if (this.#closesItself && !this.#released) this.#unfreed.push(stream.handle);
    else this.#free(stream.handle);
  }

  lost(): LeanError {
    if (this.#ended === undefined) {
      const reason = this.#driver.native.closeReason(this.#driver.engine, this.#handle);
      if (reason === null) return new LeanError('ERR_STREAM_CLOSED', 'the stream has ended');
      this.#end(described(reason));
    }
    return this.#errorOf(this.#ended as CloseReason);
  }

  // ── Inside ───────────────────────────────────────────────────────────────────────────────────

  #open(): QuinnStream | undefined {
    const handle = this.#driver.native.openStream(this.#driver.engine, this.#handle);
    if (handle === BLOCKED) return undefined;
    if (handle < 0) throw this.lost();
    const stream = this.#track(handle, this.#nextOpened);
    this.#nextOpened += 4;
    return stream;
  }

  #track(handle: number, id: number): QuinnStream {
    const stream = new QuinnStream(this.#driver, this, handle, id);
    if (++this.#tracked % LOOK_EVERY === 0) for (const each of this.#streams) each.lookForEnd();
    this.#streams.add(stream);
    this.memory.addStreams(1);
    this.#driver.streams[handle] = stream;
    return stream;
  }

  #free(handle: number): void {
    this.#driver.streams[handle] = undefined;
    this.#driver.native.freeStream(this.#driver.engine, handle);
  }

  async #close(code: number, reason: string): Promise<void> {
    const sent = new Promise<void>((resolve) => {
      this.#resolveCloseSent = resolve;
    });
    this.#driver.native.close(this.#driver.engine, this.#handle, code, reason);
    this.#end({ by: 'local', code, application: true, reason });
    const timer = setTimeout(() => this.#release(), CLOSE_WAIT);
    await sent;
    clearTimeout(timer);
  }

  #reasonOfQuinn(): CloseReason {
    const reason = this.#driver.native.closeReason(this.#driver.engine, this.#handle);
    if (reason !== null) return described(reason);
    return { by: 'error', code: 0, application: false, reason: 'the connection was lost' };
  }

  /** Why streams fail from now on. */
  #errorOf(reason: CloseReason): LeanError {
    this.#endedError ??= new LeanError('ERR_CONNECTION_CLOSED', describeClose(reason));
    return this.#endedError;
  }

  #end(reason: CloseReason): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    for (const stream of this.#streams) stream.connectionEnded(this.#errorOf(reason));
    for (const { reject } of this.#openers ?? []) reject(this.#errorOf(reason));
    this.#openers = undefined;
    for (const accept of this.#accepters.splice(0)) accept(null);
    this.#incoming.length = 0;
    this.#resolveClosed(reason);
  }

  #release(): void {
    if (this.#released) return;
    this.#lastStats = this.stats();
    // Can be asked for after the release.
    this.#localAddress = this.localAddress;
    this.#released = true;
    this.#resolveCloseSent();
    for (const handle of this.#unfreed.splice(0)) this.#free(handle);
    this.#driver.connections.delete(this.#handle);
    this.#driver.native.release(this.#driver.engine, this.#handle);
    this.#onReleased();
  }
}

const nothing = (): void => {};

const NOWHERE: SocketAddress = { host: '', port: 0 };

/** Adds the name of the error code if there is no reason. */
export const described = (close: CloseReason): CloseReason =>
  close.reason !== '' || close.application || close.by === 'timeout'
    ? close
    : { ...close, reason: describeTransportError(close.code) };
