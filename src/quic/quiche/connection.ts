/**
 * One QUIC connection over the quiche binding, without I/O: packets come in through `receive()`,
 * leave through the `transmit` callback of `flush()`, and time passes through `tick()`. Whoever
 * drives it (engine.ts) calls `settle()` once after a batch of packets and `flush()` once per turn
 * of the event loop.
 */

import { type CloseReason, describeClose } from '../../close-reason.ts';
import { ConnectionMemory, tooMuchMemory } from '../../connection-memory.ts';
import { abortedBy } from '../../deadline.ts';
import { LeanError, messageOf } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';
import { StallWatch } from '../../stream/stall-watch.ts';
import type { Stream } from '../../stream.ts';
import { isAnswerable } from '../answerable.ts';
import {
  ALPN,
  type Authenticate,
  BAD_CERTIFICATE,
  type QuicConnection,
  type QuicLimits,
  windowsOf,
} from '../engine.ts';
import { describeTransportError } from '../transport-errors.ts';
import type { QuicheError, QuicheHandle } from './binding.ts';
import { type DatagramSize, datagramSize, type SentBytes } from './datagram-size.ts';
import { QuicheStream, type StreamOwner } from './stream.ts';

/** So many timeouts without a packet between them, and datagrams are short again. */
const SILENT_TICKS = 3;
/** Packets sent in one go before incoming ones and other connections get their turn. */
const BURST = 32;
/** Packets are written into slabs of this size: a datagram still in the socket's queue keeps its slab. */
const PACKET_SLAB = 64 * 1024;
/** A read takes at most this much at once. */
const READ_SLAB = 64 * 1024;
/** With more streams being read than this, quiche is asked which of them have something. */
const FEW_READERS = 4;
/** What a stream costs beside its bytes, with the handler that serves it. */
const STREAM_BYTES = 4096;
/** How long a busy connection waits for a packet before it is closed all the same; milliseconds. */
const CLOSE_PATIENCE = 20;
/**
 * When bytes of the handshake are due again while quiche is told to close, it makes packets without
 * end, in which neither they nor an application's CONNECTION_CLOSE are. So many are enough.
 */
const MAX_STRAYS = 4;
/** Reasons are cut to this; bytes. */
const MAX_REASON = 512;

/** What the driver does for a connection. */
export interface Driver {
  /** Asks for `flush()` at the end of this turn of the event loop. */
  readonly wantsFlush: () => void;
  /** Calls `flush()` at once, and until nothing is left that may be sent. */
  readonly flushNow: () => void;
  /** The handshake is complete and the peer's certificate was accepted. */
  readonly onReady: () => void;
  /** The connection ended; before `onReady` that means the handshake failed with `error`. */
  readonly onEnd: (error: Error) => void;
  /** Resolves when everything due has left the socket. */
  readonly flushed: () => Promise<void>;
}

/** Where packets go: the socket. */
export interface PacketSender {
  readonly send: (packet: Buffer, to: SocketAddress) => void;
  /** Whether all that was sent is with the kernel, and its memory free to be used again. */
  readonly idle: () => boolean;
}

/** Room that a packet with one FIN needs, and one more FIN in the same packet; bytes. */
const MIN_FIN_ROOM = 100;
const FIN_FRAME = 20;
/** Room that a packet with CONNECTION_CLOSE needs beside the reason; bytes. */
const MIN_CLOSE_ROOM = 100;
const NOTHING = new Uint8Array();

const encoder = new TextEncoder();
const decoder = new TextDecoder();

let packetSlab = Buffer.allocUnsafeSlow(PACKET_SLAB);
let packetOffset = 0;
let readSlab = Buffer.allocUnsafeSlow(READ_SLAB);
let readOffset = 0;

export class QuicheConnection implements QuicConnection, StreamOwner {
  readonly localAddress: SocketAddress;
  readonly remoteAddress: SocketAddress;
  peerCertificate: Uint8Array = new Uint8Array();
  readonly closed: Promise<CloseReason>;
  /** The connection was handed up (or the dial resolved). */
  ready = false;
  ended: CloseReason | undefined;
  readonly memory: ConnectionMemory;
  readonly stalls: StallWatch;
  /** How often `flush()` ran: tells whether bytes written earlier may have left. */
  flushes = 0;
  readonly #handle: QuicheHandle;
  readonly #driver: Driver;
  readonly #authenticate: Authenticate;
  readonly #startedAt = performance.now();
  readonly #handshakeTimeout: number;
  /** The longest datagram that may be worth a probe; bytes. */
  readonly #maxDatagram: number;
  readonly #datagrams: DatagramSize;
  /** No more handshake packets are sent: the last packet was a 1-RTT packet. */
  #shortHeaders = false;
  /** Ticks in a row before which nothing came, and `#received` at the last one. */
  #silentTicks = 0;
  #receivedAtTick = 0;
  #received = 0;
  /** The connection's receive window; bytes. */
  readonly #window: number;
  /** Bytes of datagrams that came, and of streams that were read, since quiche last had nothing to read. */
  #arrived = 0;
  #taken = 0;
  /** What of them `memory` counts as unread. */
  #unread = 0;
  #sendTwice = false;
  #info: { from: SocketAddress; to: SocketAddress };
  #resolveClosed: (reason: CloseReason) => void = () => {};
  #endError: Error | undefined;
  /** Our own close, while quiche has not been told; `stream` tells whether it could send it. */
  #closing:
    | { code: number; reason: Uint8Array; at: number; stream: number | undefined }
    | undefined;
  /** quiche was told of our own close. */
  #told = false;
  /** Packets that quiche made since without CONNECTION_CLOSE. */
  #strays = 0;
  /** The packet with our CONNECTION_CLOSE, and how many have come since it left. */
  #farewell: { packet: Buffer; to: SocketAddress; heard: number; due: boolean } | undefined;

  readonly #streams = new Map<number, QuicheStream>();
  /** Streams that somebody waits to read. */
  readonly #reading = new Set<QuicheStream>();
  /** Streams with bytes that wait for room. */
  readonly #blocked = new Set<QuicheStream>();
  /** Streams all of whose bytes are with quiche, but not their FIN. */
  readonly #finWaiting = new Set<QuicheStream>();
  #nextLocal: number;
  #nextRemote: number;
  /** Streams the peer must have opened before one we heard of, but whose packets are still missing. */
  readonly #skipped = new Set<number>();
  readonly #accepted: QuicheStream[] = [];
  readonly #accepters: ((stream: Stream | null) => void)[] = [];
  /** Who waits for the peer's stream limit to rise. Called without a stream when the wait is over. */
  readonly #openers: ((stream?: Stream) => void)[] = [];

  constructor(
    handle: QuicheHandle,
    role: 'dialer' | 'listener',
    addresses: { local: SocketAddress; remote: SocketAddress },
    /** `limits.handshakeTimeout` may be `Infinity`; `maxDatagram` in bytes. */
    options: { authenticate: Authenticate; limits: QuicLimits; maxDatagram: number },
    driver: Driver,
  ) {
    this.#handle = handle;
    this.#driver = driver;
    this.#authenticate = options.authenticate;
    const { handshakeTimeout, connectionMemory, stallTimeout } = options.limits;
    this.#handshakeTimeout = handshakeTimeout;
    this.memory = new ConnectionMemory(connectionMemory, STREAM_BYTES, () => {
      const { code, reason } = tooMuchMemory(connectionMemory);
      this.close(code, reason).catch(() => {});
    });
    this.stalls = new StallWatch(stallTimeout);
    this.#window = windowsOf(options.limits).connection;
    this.#maxDatagram = options.maxDatagram;
    this.#datagrams = datagramSize(options.maxDatagram);
    this.localAddress = addresses.local;
    this.remoteAddress = addresses.remote;
    this.#info = { from: addresses.remote, to: addresses.local };
    this.#nextLocal = role === 'dialer' ? 0 : 1;
    this.#nextRemote = role === 'dialer' ? 1 : 0;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  // ── Driven from outside ──────────────────────────────────────────────────────────────────────

  /** Takes one datagram. `settle()` must follow. */
  receive(packet: Uint8Array, host: string, port: number): void {
    const { from } = this.#info;
    if (from.port !== port || from.host !== host) {
      if (!isAnswerable(host, port)) return;
      this.#info = { from: { host, port }, to: this.#info.to };
    }
    if (this.#farewell !== undefined) {
      // Each time less often, as some were on their way before the peer could know.
      const heard = ++this.#farewell.heard;
      if ((heard & (heard - 1)) === 0) this.#farewell.due = true;
      return;
    }
    try {
      this.#handle.recv(packet, this.#info);
      this.#received++;
      this.#arrived += packet.length;
    } catch {
      // Undecryptable or broken packets are dropped (RFC 9000 section 5.2). An error that ends the
      // connection is in localError(), and settle() finds it.
    }
  }

  /** Looks at what the last packets or the clock changed, and wakes whoever waited for it. */
  settle(): void {
    if (this.ended !== undefined) {
      this.#sendClose();
      return;
    }
    const handle = this.#handle;
    if (!this.ready && handle.isEstablished() && !this.#becomeReady()) return;
    if (this.ready) this.#notifyReadable();
    if (handle.isClosed() || handle.isDraining() || handle.localError() !== null) {
      this.#end();
    } else if (this.ready) {
      // quiche would still take bytes that never leave when the connection has ended.
      this.#retryBlocked();
      this.#retryOpeners();
    }
    this.#driver.wantsFlush();
  }

  /** Writes every packet that is due. True when the burst was cut: call again soon. */
  flush(sender: PacketSender): boolean {
    this.flushes++;
    if (this.#strays >= MAX_STRAYS) return false;
    if (this.#farewell !== undefined) {
      const { packet, to, due } = this.#farewell;
      this.#farewell.due = false;
      if (due) sender.send(packet, to);
      return false;
    }
    // What is in the slab from here on is ours, and free again when it has left.
    let start = packetOffset;
    let sent = 0;
    for (; sent < BURST; sent++) {
      if (PACKET_SLAB - packetOffset < this.#maxDatagram) {
        if (sender.idle()) packetOffset = start;
      }
      if (PACKET_SLAB - packetOffset < this.#maxDatagram) {
        packetSlab = Buffer.allocUnsafeSlow(PACKET_SLAB);
        packetOffset = 0;
        start = 0;
      }
      const size = this.#datagrams.room(this.#shortHeaders && this.#blocked.size > 0);
      const room = packetSlab.subarray(packetOffset, packetOffset + size);
      let result: ReturnType<QuicheHandle['send']>;
      try {
        result = this.#handle.send(room);
      } catch (error) {
        // The TLS handshake failed in here: quiche wants to be told to close.
        if (this.ended !== undefined) break;
        this.#handle.close(false, 0x1, encoder.encode(messageOf(error).slice(0, MAX_REASON)));
        this.#end();
        // That may have flushed, too.
        start = packetOffset;
        continue;
      }
      if (result === null) break;
      packetOffset += result[0];
      const packet = room.subarray(0, result[0]);
      sender.send(packet, result[1].to);
      if (this.#sendTwice) sender.send(packet, result[1].to);
      this.#onSent(packet);
      if (this.ended !== undefined && this.#handle.isDraining()) {
        // quiche says it once. Whoever goes on sending has not heard it (RFC 9000 section 10.2.1).
        const { to } = result[1];
        this.#farewell = { packet: Buffer.from(packet), to, heard: 0, due: false };
      } else if (this.#told && ++this.#strays >= MAX_STRAYS) {
        return false;
      }
    }
    if (sent > 0 && sender.idle()) packetOffset = start;
    return sent === BURST;
  }

  #onSent(packet: Uint8Array): void {
    const first = packet[0] ?? 0;
    this.#shortHeaders = first < 0x80;
    this.#datagrams.onSent(packet.length, this.#countSent);
    if (!this.ready || (first & 0xf0) !== 0xc0) return;
    // An Initial packet with a 1-RTT one in the same datagram, which quiche fills up with padding. As
    // long as no 1-RTT packet asks for an acknowledgement, it then repeats nothing at all.
    for (const stream of this.#streams.values()) if (stream.sentBytes > 0) return;
    this.#handle.sendAckEliciting();
  }

  readonly #countSent = (): SentBytes => {
    const { sentBytes, lostBytes } = this.#handle.stats();
    let window = 0;
    for (const { cwnd } of this.#handle.pathStats()) window += Number(cwnd);
    return { sent: Number(sentBytes), lost: Number(lostBytes), window };
  };

  /** Milliseconds until `tick()` is due; `undefined`: nothing is. */
  dueIn(): number | undefined {
    const due = this.#handle.timeout();
    if (this.#closing !== undefined) return this.#closing.at - performance.now();
    if (this.ready || this.ended !== undefined) return due ?? undefined;
    const left = this.#startedAt + this.#handshakeTimeout - performance.now();
    const next = due === null ? left : Math.min(due, left);
    return Number.isFinite(next) ? next : undefined;
  }

  /** Lets quiche act on the clock; `settle()` is done inside. */
  tick(): void {
    const waited = performance.now() - this.#startedAt;
    if (!this.ready && this.ended === undefined && waited >= this.#handshakeTimeout) {
      const what = this.#received === 0 ? NO_ANSWER : 'the QUIC handshake did not finish';
      this.#endError = new LeanError(
        'ERR_TIMEOUT',
        `${what} within ${this.#handshakeTimeout} ms (${this.remoteAddress.host} port ${this.remoteAddress.port})`,
      );
      this.#handle.close(false, 0, encoder.encode('handshake timeout'));
      this.#end();
      this.#driver.wantsFlush();
      return;
    }
    this.#silentTicks = this.#received === this.#receivedAtTick ? this.#silentTicks + 1 : 0;
    this.#receivedAtTick = this.#received;
    if (this.#silentTicks >= SILENT_TICKS) this.#datagrams.onSilence();
    this.#handle.onTimeout();
    this.settle();
  }

  /** True once CONNECTION_CLOSE has been sent, or the peer's was received. */
  get closeSent(): boolean {
    return this.#handle.isDraining() || this.drained;
  }

  /** True once nothing more will be sent or is worth receiving. */
  get drained(): boolean {
    if (this.#strays >= MAX_STRAYS || this.#handle.isClosed()) return true;
    return this.ended !== undefined && this.#handle.timeout() === null;
  }

  /** The peer, which exists, was told of the end by us and may not have heard it. */
  get lingers(): boolean {
    return this.#received > 0 && this.#handle.localError() !== null && !this.drained;
  }

  /**
   * Ends it from outside: an aborted dial, an ICMP error, an eviction.
   *
   * @param code of the transport (RFC 9000 section 20.1), for the peer.
   */
  fail(error: LeanError, code = 0): void {
    if (this.ended !== undefined) return;
    this.#endError = error;
    this.#handle.close(false, code, NOTHING);
    this.#end();
    this.#driver.wantsFlush();
  }

  // ── QuicConnection ───────────────────────────────────────────────────────────────────────────

  openStream(signal?: AbortSignal): Promise<Stream> {
    if (this.ended !== undefined) return Promise.reject(this.closedError());
    if (signal?.aborted === true) return Promise.reject(abortedBy(signal, 'opening a stream'));
    if (this.#openers.length === 0 && this.#handle.peerStreamsLeftBidi() > 0) {
      return Promise.resolve(this.#createLocal());
    }
    return new Promise((resolve, reject) => {
      const opener = (stream?: Stream): void => {
        signal?.removeEventListener('abort', onAbort);
        if (stream === undefined) reject(this.closedError());
        else resolve(stream);
      };
      const onAbort = (): void => {
        this.#openers.splice(this.#openers.indexOf(opener), 1);
        reject(abortedBy(signal as AbortSignal, 'opening a stream'));
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#openers.push(opener);
    });
  }

  acceptStream(): Promise<Stream | null> {
    const stream = this.#accepted.shift();
    if (stream !== undefined) return Promise.resolve(stream);
    if (this.ended !== undefined) return Promise.resolve(null);
    return new Promise((resolve) => this.#accepters.push(resolve));
  }

  close(code = 0, reason = ''): Promise<void> {
    if (this.ended === undefined) {
      // What was written before, and the last flight of a handshake just finished, goes first.
      this.#driver.flushNow();
    }
    if (this.ended === undefined) {
      const at = performance.now() + CLOSE_PATIENCE;
      const [stream] = this.#blocked.size > 0 ? this.#blocked : this.#streams.values();
      this.#closing = {
        code,
        reason: encoder.encode(reason.slice(0, MAX_REASON)),
        at,
        stream: stream?.number,
      };
      // First, if it can be: the end reads what has come, and would grant the peer room for more.
      this.#sendClose();
      this.#end({ by: 'local', code, application: true, reason });
    }
    return this.#driver.flushed();
  }

  /**
   * quiche keeps CONNECTION_CLOSE back while the congestion window is full, and takes no more
   * acknowledgements once it is told to close: it then waits for a probe timeout. So a connection
   * that is busy sending is closed when there is room, or soon.
   */
  #sendClose(): void {
    if (this.#closing === undefined) return;
    const { code, reason, at, stream } = this.#closing;
    if (performance.now() < at && !this.#hasRoomFor(reason.length + MIN_CLOSE_ROOM, stream)) return;
    this.#closing = undefined;
    // Else what is left of the handshake would never be sent, and be in the way: see flush().
    this.#driver.flushNow();
    this.#handle.close(true, code, reason);
    this.#told = true;
    this.#driver.wantsFlush();
  }

  /** Whether the congestion window has, as far as `stream` can tell. */
  #hasRoomFor(bytes: number, stream: number | undefined): boolean {
    if (stream === undefined) return true;
    try {
      return this.#handle.streamCapacity(stream) >= bytes;
    } catch {
      return true; // It is gone.
    }
  }

  // ── For streams ──────────────────────────────────────────────────────────────────────────────

  /**
   * Reads what is there into `into` or a fresh piece of memory. `null`: nothing now. Throws quiche's
   * errors.
   */
  readStream(id: number, into?: Uint8Array): { chunk: Uint8Array; fin: boolean } | null {
    if (into !== undefined) {
      const result = this.#handle.streamRecv(id, into);
      if (result === null) return null;
      this.#onTaken(result[0]);
      return { chunk: into.subarray(0, result[0]), fin: result[1] };
    }
    if (READ_SLAB - readOffset < READ_SLAB / 4) {
      readSlab = Buffer.allocUnsafeSlow(READ_SLAB);
      readOffset = 0;
    }
    const room = readSlab.subarray(readOffset);
    const result = this.#handle.streamRecv(id, room);
    if (result === null) return null;
    readOffset += result[0];
    this.#onTaken(result[0]);
    return { chunk: room.subarray(0, result[0]), fin: result[1] };
  }

  #onTaken(bytes: number): void {
    this.#taken += bytes;
    if (this.#unread > 0) this.#countUnread();
    this.#driver.wantsFlush();
  }

  /**
   * quiche does not say how much is unread. It is no more than what came in datagrams and was not
   * read since there was nothing to read, and no more than the window.
   */
  #countUnread(): void {
    const unread = Math.max(0, Math.min(this.#arrived - this.#taken, this.#window));
    this.memory.addUnread(unread - this.#unread);
    this.#unread = unread;
  }

  #allRead(): void {
    this.#arrived = 0;
    this.#taken = 0;
    if (this.#unread > 0) this.#countUnread();
  }

  /** The number of bytes taken, 0 when there is no room now. Throws quiche's errors. */
  writeStream(id: number, chunk: Uint8Array, fin: boolean): number {
    const written = this.#handle.streamSend(id, chunk, fin);
    this.#driver.wantsFlush();
    if (written !== null) return written;
    // No room, or no such stream any more: this throws in the second case.
    this.#handle.streamCapacity(id);
    return 0;
  }

  /**
   * Whether quiche would take bytes of the stream now. Throws quiche's errors. To ask so after a write
   * that found no room: a write that finds none makes quiche send DATA_BLOCKED, which the peer
   * acknowledges, upon which the next write would be tried, and so on without end.
   */
  hasRoom(id: number): boolean {
    return this.#handle.streamCapacity(id) > 0;
  }

  shutdownStream(id: number, direction: 0 | 1, code: number): void {
    try {
      this.#handle.streamShutdown(id, direction, code);
    } catch {
      // quiche no longer knows the stream: there is nothing to stop.
    }
    this.#driver.wantsFlush();
  }

  setReading(stream: QuicheStream, reading: boolean): void {
    if (reading) this.#reading.add(stream);
    else this.#reading.delete(stream);
  }

  setBlocked(stream: QuicheStream, blocked: boolean): void {
    if (blocked) this.#blocked.add(stream);
    else this.#blocked.delete(stream);
  }

  sendFin(stream: QuicheStream): void {
    this.#finWaiting.add(stream);
    this.#sendFins();
  }

  forget(stream: QuicheStream): void {
    if (!this.#streams.delete(stream.number)) return;
    this.memory.addStreams(-1);
    this.#reading.delete(stream);
    this.#blocked.delete(stream);
    this.#finWaiting.delete(stream);
  }

  closedError(): Error {
    const reason = this.ended ?? { by: 'error', code: 0, application: false, reason: '' };
    return this.#endError ?? new LeanError('ERR_CONNECTION_CLOSED', describeClose(reason));
  }

  // ── Inside ───────────────────────────────────────────────────────────────────────────────────

  #becomeReady(): boolean {
    const chain = this.#handle.peerCertChain() ?? [];
    try {
      const protocol = decoder.decode(this.#handle.applicationProto());
      if (protocol !== ALPN) {
        throw new LeanError('ERR_HANDSHAKE', `the peer does not speak ALPN ${ALPN}`);
      }
      this.#authenticate(chain);
    } catch (error) {
      this.#endError = error instanceof Error ? error : new Error(messageOf(error));
      const reason = encoder.encode(this.#endError.message.slice(0, MAX_REASON));
      // The peer can read the reason only once it has our last handshake flight.
      this.#driver.flushNow();
      this.#handle.close(false, BAD_CERTIFICATE, reason);
      this.#end();
      this.#driver.wantsFlush();
      return false;
    }
    this.peerCertificate = chain[0] ?? this.peerCertificate;
    this.ready = true;
    this.#driver.onReady();
    return true;
  }

  #createLocal(): QuicheStream {
    const id = this.#nextLocal;
    this.#nextLocal += 4;
    // An empty write makes quiche count the stream, so that the peer's limit is kept.
    this.#handle.streamSend(id, NOTHING, false);
    return this.#remember(new QuicheStream(this, id));
  }

  #remember(stream: QuicheStream): QuicheStream {
    this.#streams.set(stream.number, stream);
    this.memory.addStreams(1);
    return stream;
  }

  #notifyReadable(): void {
    // Asking for the list costs as much as a packet does.
    if (this.#reading.size <= FEW_READERS) for (const stream of this.#reading) stream.onReadable();
    if (this.#handle.isReadable()) {
      for (const id of this.#handle.readable()) {
        const stream = this.#streams.get(id) ?? this.#openedByPeer(id);
        if (stream?.onReadable() !== true) this.#discard(id);
      }
      if (this.#handle.isReadable()) {
        this.#countUnread();
        return;
      }
    }
    this.#allRead();
  }

  /** Hands up the stream `id` when it is new; `undefined` when it was here and is done with. */
  #openedByPeer(id: number): QuicheStream | undefined {
    if ((id & 1) !== (this.#nextRemote & 1)) return undefined;
    if (id < this.#nextRemote && !this.#skipped.delete(id)) return undefined;
    for (; this.#nextRemote < id; this.#nextRemote += 4) this.#skipped.add(this.#nextRemote);
    if (id === this.#nextRemote) this.#nextRemote += 4;
    const stream = this.#remember(new QuicheStream(this, id));
    const accepter = this.#accepters.shift();
    if (accepter === undefined) this.#accepted.push(stream);
    else accepter(stream);
    return stream;
  }

  /** Reads a stream nobody holds any more to its end, so that quiche lets go of it. */
  #discard(id: number): void {
    try {
      while (this.#handle.streamRecv(id, readSlab.subarray(readOffset)) !== null);
    } catch {
      // Reset or unknown: it is gone.
    }
  }

  #retryBlocked(): void {
    if (this.#finWaiting.size > 0) this.#sendFins();
    for (const stream of this.#blocked) stream.onWritable();
  }

  /**
   * Sends FINs that have no data to travel with. quiche 0.18 forgets a stream as soon as its last
   * data byte is acknowledged, and a FIN that the congestion window still holds back with it. So a
   * lone FIN is handed over only when it can leave at once, before the next packet is taken in. And
   * since quiche would not repeat it either if it were lost meanwhile, its packet is sent twice:
   * receivers drop duplicates (RFC 9000 section 12.3).
   */
  #sendFins(): void {
    this.#driver.flushNow();
    let used = MIN_FIN_ROOM;
    for (const stream of this.#finWaiting) {
      try {
        if (this.#handle.streamCapacity(stream.number) < used) break;
        this.#handle.streamSend(stream.number, NOTHING, true);
      } catch {
        // The peer stopped the stream: there is nothing to finish.
      }
      used += FIN_FRAME;
      this.#finWaiting.delete(stream);
      stream.onFinSent();
    }
    if (used === MIN_FIN_ROOM) return;
    this.#sendTwice = true;
    this.#driver.flushNow();
    this.#sendTwice = false;
  }

  #retryOpeners(): void {
    let left = this.#openers.length === 0 ? 0 : this.#handle.peerStreamsLeftBidi();
    for (; left > 0 && this.#openers.length > 0; left--) {
      this.#openers.shift()?.(this.#createLocal());
    }
  }

  #end(reason: CloseReason = this.#closeReason()): void {
    if (this.ended !== undefined) return;
    this.ended = reason;
    this.#endError ??= this.ready ? undefined : handshakeError(reason, this.#received > 0);
    const error = this.closedError();
    const ended = new LeanError('ERR_CONNECTION_CLOSED', describeClose(reason));
    for (const stream of this.#streams.values()) stream.onConnectionEnd(ended);
    this.memory.addStreams(-this.#streams.size);
    this.#streams.clear();
    this.#allRead();
    this.#reading.clear();
    this.#blocked.clear();
    this.#finWaiting.clear();
    for (const wake of this.#openers.splice(0)) wake();
    for (const accept of this.#accepters.splice(0)) accept(null);
    this.#resolveClosed(reason);
    this.#driver.onEnd(error);
  }

  #closeReason(): CloseReason {
    const handle = this.#handle;
    const describe = (by: CloseReason['by'], error: QuicheError): CloseReason => ({
      by,
      code: error.errorCode,
      application: error.isApp,
      reason:
        decoder.decode(error.reason) ||
        (error.isApp ? '' : describeTransportError(error.errorCode)),
    });
    const remote = handle.peerError();
    if (remote !== null) return describe('remote', remote);
    if (handle.isTimedOut()) return { by: 'timeout', code: 0, application: false, reason: '' };
    const local = handle.localError();
    if (local !== null) return describe('error', local);
    return { by: 'error', code: 0, application: false, reason: 'the connection was lost' };
  }
}

const handshakeError = (reason: CloseReason, answered: boolean): LeanError =>
  reason.by === 'timeout'
    ? new LeanError('ERR_TIMEOUT', answered ? SILENT : NO_ANSWER)
    : new LeanError('ERR_HANDSHAKE', `QUIC handshake failed: ${describeClose(reason)}`);

const NO_ANSWER = 'no answer';
const SILENT = 'the peer went silent during the QUIC handshake';
