/**
 * The muxer mplex (libp2p/specs mplex/README.md). The protocol has no back-pressure per stream: a stream whose reader
 * falls behind blocks the whole connection for `slowReaderTimeout`, and is then reset.
 */

import type { Role } from '../connection.ts';
import { encodeVarint } from '../stream/bytes.ts';
import type { MuxLimits } from './mux-limits.ts';
import { MAX_FRAME_PAYLOAD, MuxSession, SMALL_FRAME, violation } from './mux-session.ts';
import { MuxStream, type MuxStreamOwner } from './mux-stream.ts';
import type { Carrier, CreateMuxer } from './muxer.ts';

export const MPLEX = '/mplex/6.7.0';

export const createMplex: CreateMuxer = (carrier, role, limits = {}) =>
  new Mplex(carrier, role, limits);

/** The longest message accepted, bytes. */
const MAX_MESSAGE = 1 << 20;
/** Length of the longest varint accepted, bytes: 49 bits, of which 46 are the stream's number. */
const MAX_VARINT = 7;

/** Flags, as sent by the side that did not open the stream. */
const NEW_STREAM = 0;
const MESSAGE = 1;
const CLOSE = 3;
const RESET = 5;
/** Added to MESSAGE, CLOSE and RESET by the side that opened the stream. */
const INITIATOR = 1;

class MplexStream extends MuxStream {
  /** The stream's number, as in the headers of its messages; either side may have opened a stream of that number. */
  readonly number: number;
  /** NEW_STREAM has not been sent yet. */
  newStreamDue = false;

  constructor(owner: MuxStreamOwner<MuxStream>, number: number, inbound: boolean) {
    super(owner, keyOf(number, inbound), inbound);
    this.number = number;
  }
}

/** A key that is unique within the connection, as both sides number their streams from 0. */
const keyOf = (number: number, inbound: boolean): number => number * 2 + (inbound ? 1 : 0);

class Mplex extends MuxSession<MplexStream> implements MuxStreamOwner<MplexStream> {
  #nextNumber = 0;

  // The message that is arriving.
  #varint = 0;
  #varintScale = 1;
  #varintLength = 0;
  /** Its first varint, stream number and flag; -1: not complete yet. */
  #head = -1;
  #bodyLeft = 0;
  #bodyStream: MplexStream | undefined;

  readonly #sendChunk = (chunk: Uint8Array): void => {
    this.send(chunk);
  };

  constructor(carrier: Carrier, role: Role, limits: Partial<MuxLimits>) {
    super(carrier, role, limits);
    this.start();
  }

  // Receiving.

  protected receive(chunk: Uint8Array): void | Promise<void> {
    let at = 0;
    // A reader may close the muxer; the rest is then discarded.
    while (at < chunk.length && this.ending === undefined) {
      if (this.#bodyLeft > 0) {
        const size = Math.min(this.#bodyLeft, chunk.length - at);
        const piece = size === chunk.length ? chunk : chunk.subarray(at, at + size);
        at += size;
        this.#bodyLeft -= size;
        const stream = this.#bodyStream;
        if (this.#bodyLeft === 0) this.#bodyStream = undefined;
        if (stream?.isReadable !== true) continue;
        stream.push(piece);
        if (this.mustWaitForReaders(stream)) {
          return this.receiveLater(stream, chunk.subarray(at));
        }
        continue;
      }
      const value = this.#readVarint(chunk[at++] as number);
      if (value < 0) continue;
      if (this.#head < 0) {
        this.#head = value;
      } else {
        const head = this.#head;
        this.#head = -1;
        this.#onMessage(Math.floor(head / 8), head % 8, value);
      }
    }
  }

  /** Takes one byte of a varint. @returns the value after the last byte, -1 before. */
  #readVarint(byte: number): number {
    this.#varint += (byte & 0x7f) * this.#varintScale;
    if (byte >= 0x80) {
      this.#varintScale *= 128;
      if (++this.#varintLength === MAX_VARINT) throw violation('mplex: varint of too many bytes');
      return -1;
    }
    const value = this.#varint;
    this.#varint = 0;
    this.#varintScale = 1;
    this.#varintLength = 0;
    return value;
  }

  #onMessage(number: number, flag: number, length: number): void {
    if (flag > RESET + INITIATOR) throw violation(`mplex: unknown flag ${flag}`);
    if (length > MAX_MESSAGE) throw violation(`mplex: message of ${length} bytes`);
    this.#bodyLeft = length;
    this.#bodyStream = undefined;
    if (flag === NEW_STREAM) {
      // The body is the stream's name, for debugging: it is skipped.
      this.#onNewStream(number);
      return;
    }
    // An odd flag: the sender did not open the stream, so we did.
    const inbound = flag % 2 === 0;
    const stream = this.streams.get(keyOf(number, inbound));
    // Late messages of a stream that has ended or was reset.
    if (stream === undefined) return;
    const kind = inbound ? flag - INITIATOR : flag;
    if (kind === MESSAGE) this.#bodyStream = stream;
    else if (kind === CLOSE) stream.onRemoteEnd();
    else stream.onRemoteReset(0);
  }

  #onNewStream(number: number): void {
    const key = keyOf(number, true);
    if (this.streams.has(key)) throw violation(`mplex: the peer opened stream ${number} twice`);
    const stream = new MplexStream(this, number, true);
    if (!this.hasRoom()) {
      this.sendAnswer(header(stream, RESET, 0));
      return;
    }
    this.add(stream);
    this.offer(stream);
  }

  protected override mustWaitForReaders(stream: MplexStream): boolean {
    const { streamBuffer } = this.limits;
    const isFull = stream.isReadable && stream.unreadBytes > streamBuffer;
    return isFull || super.mustWaitForReaders(stream);
  }

  protected refusesStreams(): boolean {
    return false;
  }

  // Streams.

  protected createStream(): MplexStream {
    const stream = new MplexStream(this, this.#nextNumber++, false);
    stream.newStreamDue = true;
    this.add(stream);
    return stream;
  }

  onWritable(stream: MplexStream): void {
    this.schedule(stream);
  }

  onConsumed(): void {
    this.onRead();
  }

  onReset(stream: MplexStream): void {
    if (!stream.newStreamDue) this.sendControl(header(stream, RESET, 0));
    this.onFinished(stream);
  }

  onFinished(stream: MplexStream): void {
    this.remove(stream);
    this.onRead();
  }

  // Sending.

  protected sendFrames(stream: MplexStream): boolean {
    if (stream.isReset) return false;
    if (stream.newStreamDue) {
      stream.newStreamDue = false;
      this.send(encodeHeader(stream.number, NEW_STREAM, 0));
    }
    const length = Math.min(stream.pendingBytes, MAX_FRAME_PAYLOAD);
    if (length > 0) {
      const head = header(stream, MESSAGE, length);
      if (length <= SMALL_FRAME) {
        const whole = new Uint8Array(head.length + length);
        whole.set(head);
        let used = head.length;
        stream.takePending(length, (chunk) => {
          whole.set(chunk, used);
          used += chunk.length;
        });
        this.send(whole);
      } else {
        this.send(head);
        stream.takePending(length, this.#sendChunk);
      }
    }
    stream.wakeWriter();
    if (this.mayEnd(stream)) {
      this.send(header(stream, CLOSE, 0));
      stream.onEndSent();
      return false;
    }
    return stream.pendingBytes > 0;
  }

  /** mplex has no GO_AWAY. */
  protected goAway(): undefined {
    return undefined;
  }
}

/** The header of a message that we send; we opened the streams that are not inbound. */
const header = (stream: MplexStream, flag: number, length: number): Uint8Array =>
  encodeHeader(stream.number, stream.inbound ? flag : flag + INITIATOR, length);

const encodeHeader = (number: number, flag: number, length: number): Uint8Array => {
  const head = encodeVarint(number * 8 + flag);
  const size = length === 0 ? ZERO : encodeVarint(length);
  const out = new Uint8Array(head.length + size.length);
  out.set(head);
  out.set(size, head.length);
  return out;
};

const ZERO = Uint8Array.of(0);
