/**
 * One QUIC connection over the quiche binding, without I/O: packets arrive through `receive()`, are sent
 * by the `PacketSender` given to `flush()`, and timers fire through `tick()`. The code that drives it
 * (socket.ts) calls `settle()` once after a batch of packets and `flush()` once per turn
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
import { ALPN, type Authenticate, BAD_CERTIFICATE, type QuicConnection } from '../engine.ts';
import { type QuicLimits, windowsOf } from '../limits.ts';
import { describeTransportError } from '../transport-errors.ts';
import type { QuicheError, QuicheHandle } from './binding.ts';
import { type DatagramSize, datagramSize, type SentBytes } from './datagram-size.ts';
import { QuicheStream, type StreamOwner } from './stream.ts';

/** After so many consecutive timeouts without a packet received, datagrams are short again. */
const SILENT_TICKS = 3;
/** Packets sent per turn before incoming packets and other connections are served. */
const BURST = 32;
/** Packets are written into slabs of this size: a datagram still in the socket's queue keeps its slab. */
const PACKET_SLAB = 64 * 1024;
/** A read takes at most this much at once. */
const READ_SLAB = 64 * 1024;
/** With more readers than this, quiche is asked which streams are readable. */
const FEW_READERS = 4;
/** Estimated memory of an open stream beside its data, including the handler that serves it; bytes. */
const STREAM_BYTES = 4096;
/** With every so many new streams, the open ones are checked for an end that nobody has read. */
const LOOK_EVERY = 32;
/** How long a close waits for room in the congestion window; milliseconds. */
const CLOSE_PATIENCE = 20;
/**
 * If handshake data must be retransmitted when quiche is told to close, it makes packets endlessly that
 * contain neither that data nor an application's CONNECTION_CLOSE. It is stopped after so many.
 */
const MAX_EMPTY_PACKETS = 4;
/** Reasons are truncated to this length; bytes. */
const MAX_REASON = 512;

/** What a connection needs from the code that drives it. */
export interface Driver {
  /** Asks for `flush()` at the end of this turn of the event loop. */
  readonly wantsFlush: () => void;
  /** Calls `flush()` at once, and until nothing is left that may be sent. */
  readonly flushNow: () => void;
  /** The handshake is complete and the peer's certificate was accepted. */
  readonly onReady: () => void;
  /** The connection ended; before `onReady` that means the handshake failed with `error`. */
  readonly onEnd: (error: Error) => void;
  /** Resolves when everything due has been sent. */
  readonly flushed: () => Promise<void>;
}

/** Where packets go: the socket. */
export interface PacketSender {
  readonly send: (packet: Buffer, to: SocketAddress) => void;
  /** Whether the kernel has all that was sent, so that its memory can be reused. */
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
  /** How often `flush()` ran: it tells whether bytes written earlier may have been sent. */
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
  /** Bytes of datagrams received, and of stream data read, since quiche last had nothing to read. */
  #arrived = 0;
  #taken = 0;
  /** The part of them that `memory` counts as unread. */
  #unread = 0;
  #sendTwice = false;
  #info: { from: SocketAddress; to: SocketAddress };
  #resolveClosed: (reason: CloseReason) => void = () => {};
  #endError: Error | undefined;
  /** Our own close, before quiche was told; the capacity of `stream` shows whether quiche could send it. */
  #closing:
    | { code: number; reason: Uint8Array; at: number; stream: number | undefined }
    | undefined;
  /** quiche was told to close. */
  #closeRequested = false;
  /** Packets without CONNECTION_CLOSE that quiche made since. */
  #emptyPackets = 0;
  /** The packet with our CONNECTION_CLOSE, and how many packets were received since it was sent. */
  #closePacket: { packet: Buffer; to: SocketAddress; received: number; due: boolean } | undefined;

  readonly #streams = new Map<number, QuicheStream>();
  /** Streams with a waiting reader. */
  readonly #reading = new Set<QuicheStream>();
  /** Streams with bytes that wait for room in quiche. */
  readonly #blocked = new Set<QuicheStream>();
  /** Streams all of whose bytes are with quiche, but not their FIN. */
  readonly #finWaiting = new Set<QuicheStream>();
  #nextLocal: number;
  /** The number of streams so far. */
  #remembered = 0;
  #nextRemote: number;
  /** Streams that the peer must have opened, as it used a later one, but whose packets have not arrived. */
  readonly #skipped = new Set<number>();
  readonly #accepted: QuicheStream[] = [];
  readonly #accepters: ((stream: Stream | null) => void)[] = [];
  /** Waiters for a higher stream limit. Called without a stream when the connection ends. */
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
    if (this.#closePacket !== undefined) {
      // Repeated ever less often, as some packets were sent before the peer could have received it.
      const received = ++this.#closePacket.received;
      if ((received & (received - 1)) === 0) this.#closePacket.due = true;
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

  /** Checks what the last packets or the clock changed, and wakes the readers and writers concerned. */
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
      // Only while it is open: quiche would also take bytes after the end, and never send them.
      this.#retryBlocked();
      this.#retryOpeners();
    }
    this.#driver.wantsFlush();
  }

  /** Writes every packet that is due. True when the burst was cut: call again soon. */
  flush(sender: PacketSender): boolean {
    this.flushes++;
    if (this.#emptyPackets >= MAX_EMPTY_PACKETS) return false;
    if (this.#closePacket !== undefined) {
      const { packet, to, due } = this.#closePacket;
      this.#closePacket.due = false;
      if (due) sender.send(packet, to);
      return false;
    }
    // The slab is ours from here on, and can be reused once its packets have been sent.
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
        // The TLS handshake failed; quiche must be told to close.
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
        // quiche sends it once. A peer that goes on sending has not received it (RFC 9000 section 10.2.1).
        const { to } = result[1];
        this.#closePacket = { packet: Buffer.from(packet), to, received: 0, due: false };
      } else if (this.#closeRequested && ++this.#emptyPackets >= MAX_EMPTY_PACKETS) {
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
    // An Initial and a 1-RTT packet in the same datagram, which quiche pads. Unless a 1-RTT packet is
    // ack-eliciting, quiche then retransmits nothing at all.
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

  /** True once nothing more will be sent or must be received. */
  get drained(): boolean {
    if (this.#emptyPackets >= MAX_EMPTY_PACKETS || this.#handle.isClosed()) return true;
    return this.ended !== undefined && this.#handle.timeout() === null;
  }

  /** We closed it, and the peer, which has answered before, may not have received the close. */
  get lingers(): boolean {
    return this.#received > 0 && this.#handle.localError() !== null && !this.drained;
  }

  /**
   * Ends it for an outside reason: an aborted dial, an ICMP error, an eviction.
   *
   * @param code transport error code (RFC 9000 section 20.1) for the peer.
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
      // First what was written before, and the last flight of a handshake that has just finished.
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
      // Before #end() if possible: that reads what has arrived, which would send the peer flow control credit.
      this.#sendClose();
      this.#end({ by: 'local', code, application: true, reason });
    }
    return this.#driver.flushed();
  }

  /**
   * quiche holds CONNECTION_CLOSE back while the congestion window is full, and processes no
   * acknowledgements once it is told to close: it then waits for a probe timeout. So while the window is
   * full, quiche is told later: when there is room, or after CLOSE_PATIENCE.
   */
  #sendClose(): void {
    if (this.#closing === undefined) return;
    const { code, reason, at, stream } = this.#closing;
    if (performance.now() < at && !this.#hasRoomFor(reason.length + MIN_CLOSE_ROOM, stream)) return;
    this.#closing = undefined;
    // Otherwise the rest of the handshake would never be sent and would block the close: see flush().
    this.#driver.flushNow();
    this.#handle.close(true, code, reason);
    this.#closeRequested = true;
    this.#driver.wantsFlush();
  }

  /** Whether the congestion window has room, judging by the capacity of `stream`. */
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
   * quiche does not report how much is unread. It is at most what was received and not read since there was
   * last nothing to read, and at most the window.
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

  /** @returns the number of bytes taken; 0 if there is no room. Throws quiche's errors. */
  writeStream(id: number, chunk: Uint8Array, fin: boolean): number {
    const written = this.#handle.streamSend(id, chunk, fin);
    this.#driver.wantsFlush();
    if (written !== null) return written;
    // No room, or the stream no longer exists: then this throws.
    this.#handle.streamCapacity(id);
    return 0;
  }

  /**
   * Whether quiche would take bytes of the stream now. Throws quiche's errors. Must be called before a write
   * is retried: a write without room makes quiche send DATA_BLOCKED, which the peer acknowledges; each
   * acknowledgement would cause another retry, endlessly.
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
      // The peer can decrypt the reason only after our last handshake flight.
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
    // An empty write makes quiche count the stream against the peer's limit.
    this.#handle.streamSend(id, NOTHING, false);
    return this.#remember(new QuicheStream(this, id));
  }

  #remember(stream: QuicheStream): QuicheStream {
    if (++this.#remembered % LOOK_EVERY === 0) {
      for (const each of this.#streams.values()) each.lookForEnd();
    }
    this.#streams.set(stream.number, stream);
    this.memory.addStreams(1);
    return stream;
  }

  #notifyReadable(): void {
    // The list costs as much as a packet.
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

  /** Accepts the stream `id` if it is new; `undefined` if it has ended already. */
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

  /** Reads a stream that has no holder to its end, so that quiche frees it. */
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
   * Sends FINs without data. quiche 0.18 drops a stream as soon as its last data byte is acknowledged, and
   * with it a FIN that the congestion window still holds back. So a FIN without data is handed over only if it
   * can be sent at once, before the next packet is received. As quiche would not retransmit it either, its
   * packet is sent twice: receivers drop duplicates (RFC 9000 section 12.3).
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
