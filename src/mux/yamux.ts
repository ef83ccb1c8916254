/** The muxer yamux (libp2p/specs yamux/README.md): frames of a 12-byte header and, for data, a body. */

import type { CloseReason } from '../close-reason.ts';
import type { Role } from '../connection.ts';
import type { MuxLimits } from './mux-limits.ts';
import { MAX_FRAME_PAYLOAD, MuxSession, SMALL_FRAME, violation } from './mux-session.ts';
import { MuxStream, type MuxStreamOwner } from './mux-stream.ts';
import type { Carrier, CreateMuxer } from './muxer.ts';

export const YAMUX = '/yamux/1.0.0';

export const createYamux: CreateMuxer = (carrier, role, limits = {}) =>
  new Yamux(carrier, role, limits);

const HEADER_LENGTH = 12;

/** Frame types. */
const DATA = 0;
const WINDOW_UPDATE = 1;
const PING = 2;
const GO_AWAY = 3;

/** Flags. */
const SYN = 1;
const ACK = 2;
const FIN = 4;
const RST = 8;

/** GO_AWAY codes. */
const PROTOCOL_ERROR = 1;
const INTERNAL_ERROR = 2;

/** The windows of a new stream in both directions, bytes. */
const INITIAL_WINDOW = 256 << 10;
/** The most streams of ours without the peer's ACK; the SYN of further ones waits (specs, "ACK backlog"). */
const ACK_BACKLOG = 256;
const MAX_STREAM_ID = 0xffff_ffff;
/** A window of which half is read within twice the round-trip time, or within this time, is doubled; milliseconds. */
const MIN_TUNING_TIME = 10;
/** Milliseconds between measurements of the round-trip time, taken while data flows. */
const PING_INTERVAL = 10_000;

class YamuxStream extends MuxStream {
  /** Bytes that we may still send. */
  sendWindow = INITIAL_WINDOW;
  /** Size of the receive window, bytes. */
  window = INITIAL_WINDOW;
  /** Bytes that the peer may still send. */
  receiveLeft = INITIAL_WINDOW;
  /** Bytes read since the window was last extended. */
  consumed = 0;
  /** Bytes by which the next WINDOW_UPDATE extends the window. */
  credit = 0;
  /** When the window was last extended, by `performance.now()`. */
  openedAt = 0;
  /** Our next frame must carry SYN. */
  synDue = false;
  /** Our next frame must carry ACK. */
  ackDue = false;
  /** The peer has not acknowledged the stream yet. */
  awaitsAck = false;
  /** Its SYN waits until the peer acknowledges other streams. */
  isParked = false;
}

class Yamux extends MuxSession<YamuxStream> implements MuxStreamOwner<YamuxStream> {
  #nextId: number;
  /** How many streams of ours the peer has not acknowledged. */
  #unacknowledged = 0;
  /** Streams whose SYN waits because those are too many. */
  #parked: YamuxStream[] = [];
  readonly #maxWindow: number;
  #windowBudget: number;
  #goneAway: CloseReason | undefined;

  // The frame that is arriving.
  readonly #header = new Uint8Array(HEADER_LENGTH);
  #headerFilled = 0;
  #bodyLeft = 0;
  /** Where the body goes; `undefined`: it is discarded. */
  #bodyStream: YamuxStream | undefined;
  #bodyFlags = 0;

  // Round-trip time in milliseconds, and the ping that measures it.
  #rtt = 0;
  #pingId = 0;
  #pingSentAt = -PING_INTERVAL;
  #pingPending = false;

  /** Memory for headers; each is a view of it. */
  #slab = new Uint8Array(0);
  #slabUsed = 0;

  readonly #sendChunk = (chunk: Uint8Array): void => {
    this.send(chunk);
  };

  constructor(carrier: Carrier, role: Role, limits: Partial<MuxLimits>) {
    super(carrier, role, limits);
    this.#nextId = role === 'dialer' ? 1 : 2;
    // Half of what may be unread, so that windows that have grown leave room for other streams.
    const most = Math.floor(this.memory.unreadShare / 2);
    this.#maxWindow = Math.min(this.limits.maxWindow, Math.max(most, INITIAL_WINDOW));
    this.#windowBudget = Math.min(this.limits.windowBudget, most);
    this.start();
  }

  // Receiving.

  protected receive(chunk: Uint8Array): void | Promise<void> {
    let at = 0;
    // A frame may close the muxer; the rest is then discarded.
    while (at < chunk.length && this.ending === undefined) {
      if (this.#bodyLeft > 0) {
        const size = Math.min(this.#bodyLeft, chunk.length - at);
        const piece = size === chunk.length ? chunk : chunk.subarray(at, at + size);
        at += size;
        this.#bodyLeft -= size;
        const stream = this.#bodyStream;
        if (stream?.isReadable === true) stream.push(piece);
        if (this.#bodyLeft === 0) {
          this.#bodyStream = undefined;
          if (stream !== undefined) this.#onFlags(stream, this.#bodyFlags);
        }
        if (stream !== undefined && this.mustWaitForReaders(stream)) {
          return this.receiveLater(stream, chunk.subarray(at));
        }
        continue;
      }
      if (this.#headerFilled === 0 && chunk.length - at >= HEADER_LENGTH) {
        this.#onHeader(chunk, at);
        at += HEADER_LENGTH;
        continue;
      }
      const size = Math.min(HEADER_LENGTH - this.#headerFilled, chunk.length - at);
      this.#header.set(chunk.subarray(at, at + size), this.#headerFilled);
      at += size;
      this.#headerFilled += size;
      if (this.#headerFilled === HEADER_LENGTH) {
        this.#headerFilled = 0;
        this.#onHeader(this.#header, 0);
      }
    }
  }

  #onHeader(bytes: Uint8Array, at: number): void {
    const version = bytes[at] as number;
    const type = bytes[at + 1] as number;
    const flags = ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
    const id = readUint32(bytes, at + 4);
    const length = readUint32(bytes, at + 8);
    if (version !== 0) throw violation(`yamux: version ${version}`);
    if (type === DATA || type === WINDOW_UPDATE) this.#onStreamFrame(type, flags, id, length);
    else if (type === PING) this.#onPing(flags, length);
    else if (type === GO_AWAY) this.#onGoAway(length);
    else throw violation(`yamux: frame of unknown type ${type}`);
  }

  #onStreamFrame(type: number, flags: number, id: number, length: number): void {
    if (id === 0) throw violation('yamux: stream frame with id 0');
    const stream = (flags & SYN) !== 0 ? this.#onSyn(id) : this.streams.get(id);
    if (stream?.awaitsAck === true) this.#onAcknowledged(stream);
    if ((flags & RST) !== 0) {
      // go-libp2p sends its error code in the length of a window update.
      if (type === DATA) this.#skipBody(length);
      stream?.onRemoteReset(type === DATA ? 0 : length);
      return;
    }
    if (type === WINDOW_UPDATE) {
      if (stream === undefined) return;
      stream.sendWindow = Math.min(stream.sendWindow + length, MAX_STREAM_ID);
      if (stream.pendingBytes > 0) this.schedule(stream);
      this.#onFlags(stream, flags);
      return;
    }
    if (stream === undefined) {
      // Late data of a stream that we reset, or that has ended.
      this.#skipBody(length);
      return;
    }
    if (length > stream.receiveLeft) {
      throw violation(
        `yamux: data frame of ${length} bytes overruns the window of ${stream.receiveLeft}`,
      );
    }
    stream.receiveLeft -= length;
    if (length === 0) {
      this.#onFlags(stream, flags);
      return;
    }
    this.#bodyLeft = length;
    this.#bodyStream = stream;
    this.#bodyFlags = flags;
  }

  #skipBody(length: number): void {
    if (length > this.limits.maxWindow) throw violation(`yamux: data frame of ${length} bytes`);
    this.#bodyLeft = length;
    this.#bodyStream = undefined;
  }

  /** The peer opens a stream. @returns `undefined` when it is refused. */
  #onSyn(id: number): YamuxStream | undefined {
    const peersParity = this.role === 'dialer' ? 0 : 1;
    if (id % 2 !== peersParity)
      throw violation(`yamux: the peer opened stream ${id}, which is ours`);
    if (this.streams.has(id)) throw violation(`yamux: the peer opened stream ${id} twice`);
    if (!this.hasRoom()) {
      this.sendAnswer(this.#frame(WINDOW_UPDATE, RST, id, 0));
      return undefined;
    }
    const stream = new YamuxStream(this, id, true);
    stream.ackDue = true;
    this.add(stream);
    this.offer(stream);
    return stream;
  }

  #onFlags(stream: YamuxStream, flags: number): void {
    if ((flags & FIN) !== 0) stream.onRemoteEnd();
  }

  #onAcknowledged(stream: YamuxStream): void {
    stream.awaitsAck = false;
    this.#unacknowledged--;
    for (;;) {
      const parked = this.#parked.shift();
      if (parked === undefined) return;
      parked.isParked = false;
      if (parked.isReset) continue;
      this.schedule(parked);
      return;
    }
  }

  #onPing(flags: number, value: number): void {
    if ((flags & SYN) !== 0) {
      this.sendAnswer(this.#frame(PING, ACK, 0, value));
    } else if (this.#pingPending && value === this.#pingId) {
      this.#pingPending = false;
      this.#rtt = performance.now() - this.#pingSentAt;
    }
  }

  #onGoAway(code: number): void {
    const application = code !== PROTOCOL_ERROR && code !== INTERNAL_ERROR;
    const reason = GO_AWAY_REASONS[code] ?? '';
    this.#goneAway = { by: 'remote', code, application, reason };
    // After a GO_AWAY with code 0, existing streams may finish.
    if (code !== 0 || this.streams.size === 0) this.end(this.#goneAway);
  }

  protected override onWireEnd(): void {
    if (this.#goneAway === undefined) super.onWireEnd();
    else this.end(this.#goneAway);
  }

  protected refusesStreams(): boolean {
    return this.#goneAway !== undefined;
  }

  // Streams.

  protected createStream(): YamuxStream {
    const id = this.#nextId;
    if (id > MAX_STREAM_ID) throw violation('yamux: no stream ids are left');
    this.#nextId += 2;
    const stream = new YamuxStream(this, id, false);
    stream.synDue = true;
    this.add(stream);
    return stream;
  }

  protected override onAccepted(stream: YamuxStream): void {
    if (stream.ackDue) this.schedule(stream);
  }

  onWritable(stream: YamuxStream): void {
    this.schedule(stream);
  }

  onConsumed(stream: YamuxStream, bytes: number): void {
    this.onRead();
    stream.consumed += bytes;
    if (stream.consumed < stream.window / 2 || !stream.isReadable) return;
    const now = performance.now();
    if (now - stream.openedAt < Math.max(2 * this.#rtt, MIN_TUNING_TIME)) this.#grow(stream);
    stream.openedAt = now;
    stream.credit += stream.consumed;
    stream.consumed = 0;
    this.schedule(stream);
    if (!this.#pingPending && now - this.#pingSentAt >= PING_INTERVAL) this.#sendPing(now);
  }

  /** Doubles the window, within its bounds. */
  #grow(stream: YamuxStream): void {
    const growth = Math.min(stream.window, this.#maxWindow - stream.window, this.#windowBudget);
    if (growth <= 0) return;
    stream.window += growth;
    stream.credit += growth;
    this.#windowBudget -= growth;
  }

  #sendPing(now: number): void {
    this.#pingPending = true;
    this.#pingSentAt = now;
    this.#pingId = (this.#pingId + 1) % 0x1_0000_0000;
    this.sendControl(this.#frame(PING, SYN, 0, this.#pingId));
  }

  onReset(stream: YamuxStream, code: number): void {
    if (!stream.synDue) this.sendControl(this.#frame(WINDOW_UPDATE, RST, stream.key, code));
    this.onFinished(stream);
  }

  onFinished(stream: YamuxStream): void {
    if (stream.awaitsAck) this.#onAcknowledged(stream);
    this.#windowBudget += stream.window - INITIAL_WINDOW;
    stream.window = INITIAL_WINDOW;
    this.remove(stream);
    this.onRead();
    if (this.#goneAway !== undefined && this.streams.size === 0) this.end(this.#goneAway);
  }

  // Sending.

  protected sendFrames(stream: YamuxStream): boolean {
    if (stream.isReset) return false;
    if (stream.synDue) {
      if (this.#unacknowledged >= ACK_BACKLOG) {
        if (!stream.isParked) this.#parked.push(stream);
        stream.isParked = true;
        return false;
      }
      stream.synDue = false;
      stream.awaitsAck = true;
      this.#unacknowledged++;
      this.#sendPayload(stream, SYN);
    } else {
      const flags = stream.ackDue ? ACK : 0;
      stream.ackDue = false;
      this.#sendPayload(stream, flags);
    }
    stream.wakeWriter();
    if (this.mayEnd(stream)) {
      this.send(this.#frame(WINDOW_UPDATE, FIN, stream.key, 0));
      stream.onEndSent();
      return false;
    }
    return stream.pendingBytes > 0 && stream.sendWindow > 0;
  }

  /** Sends a WINDOW_UPDATE if one is due, and one data frame if there is data; `flags` go with the first of them. */
  #sendPayload(stream: YamuxStream, flags: number): void {
    let due = flags;
    if (stream.credit > 0) {
      stream.receiveLeft += stream.credit;
      this.send(this.#frame(WINDOW_UPDATE, due, stream.key, stream.credit));
      stream.credit = 0;
      due = 0;
    }
    const length = Math.min(stream.pendingBytes, stream.sendWindow, MAX_FRAME_PAYLOAD);
    if (length > 0) {
      stream.sendWindow -= length;
      if (length <= SMALL_FRAME) {
        const frame = new Uint8Array(HEADER_LENGTH + length);
        writeHeader(frame, 0, DATA, due, stream.key, length);
        let used = HEADER_LENGTH;
        stream.takePending(length, (chunk) => {
          frame.set(chunk, used);
          used += chunk.length;
        });
        this.send(frame);
      } else {
        this.send(this.#frame(DATA, due, stream.key, length));
        stream.takePending(length, this.#sendChunk);
      }
    } else if (due !== 0) {
      this.send(this.#frame(WINDOW_UPDATE, due, stream.key, 0));
    }
  }

  protected goAway(reason: CloseReason): Uint8Array {
    return this.#frame(
      GO_AWAY,
      0,
      0,
      reason.by === 'error' && reason.code === 0 ? INTERNAL_ERROR : reason.code,
    );
  }

  /** A frame's header: the whole frame, if it has no body. */
  #frame(type: number, flags: number, id: number, length: number): Uint8Array {
    if (this.#slabUsed === this.#slab.length) {
      this.#slab = new Uint8Array(64 * HEADER_LENGTH);
      this.#slabUsed = 0;
    }
    const start = this.#slabUsed;
    this.#slabUsed += HEADER_LENGTH;
    writeHeader(this.#slab, start, type, flags, id, length);
    return this.#slab.subarray(start, this.#slabUsed);
  }
}

const GO_AWAY_REASONS: readonly string[] = ['', 'yamux: protocol error', 'yamux: internal error'];

const readUint32 = (bytes: Uint8Array, at: number): number =>
  (((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)) >>>
  0;

const writeUint32 = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
};

const writeHeader = (
  bytes: Uint8Array,
  at: number,
  type: number,
  flags: number,
  id: number,
  length: number,
): void => {
  // Version 0.
  bytes[at] = 0;
  bytes[at + 1] = type;
  bytes[at + 2] = flags >>> 8;
  bytes[at + 3] = flags;
  writeUint32(bytes, at + 4, id);
  writeUint32(bytes, at + 8, length);
};
