/**
 * A Noise secure channel after its handshake (libp2p/specs noise/README.md, "Wire Format"): transport messages, each
 * preceded by its length, two bytes, big-endian.
 */

import { LeanError } from '../errors.ts';
import { concat } from '../stream/bytes.ts';
import { iterate } from '../stream/iterate.ts';
import type { Stream } from '../stream.ts';
import type { Wire } from '../wire/wire.ts';
import { TAG_LENGTH } from './chacha.ts';
import { type CipherState, MAX_PLAINTEXT } from './noise-state.ts';

const EMPTY = new Uint8Array(0);

/** Chunks shorter than this are joined before they are encrypted; bytes. */
const SMALL = 2048;
/** With this much plaintext waiting for the end of the turn of the event loop, writers must wait; bytes. */
const WRITE_HIGH_WATER = 256 << 10;
/** A message that arrives in this many pieces is copied into one. */
const MAX_PIECES = 16;

/**
 * The channel. What is written in one turn of the event loop is encrypted into as few messages as possible.
 *
 * @param stream what messages are read from and written to: `wire`, or a stream on it.
 * @param wire the whole connection, which `close()` and `reset()` end.
 *
 * Reads fail with ERR_PROTOCOL_VIOLATION when a message has no tag or is not authentic, with ERR_EOF when the peer
 * closed inside one, and with what the stream throws.
 */
export const noiseWire = (
  stream: Stream,
  wire: Wire,
  sending: CipherState,
  receiving: CipherState,
): Wire => new NoiseWire(stream, wire, sending, receiving);

class NoiseWire implements Wire {
  readonly id: string;
  readonly #stream: Stream;
  readonly #wire: Wire;
  readonly #sending: CipherState;
  readonly #receiving: CipherState;

  /** Plaintext to encrypt at the end of the turn of the event loop. */
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #flushScheduled = false;
  /** The stream has no room until `drain()`. */
  #full = false;
  #writeEnded = false;

  /** Decrypted plaintext that was not read yet, in order. */
  readonly #plain: Uint8Array[] = [];
  /** What `unread()` put back, in reverse order. */
  readonly #putBack: Uint8Array[] = [];
  /** The pieces of the message that is arriving. */
  #pieces: Uint8Array[] = [];
  /** Its length; -1 until that is known. */
  #length = -1;
  /** Bytes of it that have not arrived. */
  #missing = 0;
  /** The first byte of a length that arrived alone, or -1. */
  #lengthByte = -1;
  #failure: LeanError | undefined;

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    if (this.#pendingBytes === 0) return;
    const chunks = this.#pending;
    this.#pending = [];
    this.#pendingBytes = 0;
    try {
      this.#encrypt(chunks);
    } catch {
      // The stream is closed: the next read() or drain() throws.
    }
  };

  constructor(stream: Stream, wire: Wire, sending: CipherState, receiving: CipherState) {
    this.id = wire.id;
    this.#stream = stream;
    this.#wire = wire;
    this.#sending = sending;
    this.#receiving = receiving;
  }

  write(chunk: Uint8Array): boolean {
    if (this.#writeEnded) {
      throw new LeanError('ERR_STREAM_CLOSED', 'write on a connection that we closed');
    }
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    if (!this.#flushScheduled) {
      this.#flushScheduled = true;
      process.nextTick(this.#flush);
    }
    return !this.#full && this.#pendingBytes < WRITE_HIGH_WATER;
  }

  async drain(signal?: AbortSignal): Promise<void> {
    this.#flush();
    await this.#stream.drain(signal);
    this.#full = false;
  }

  #encrypt(chunks: Uint8Array[]): void {
    let index = 0;
    let offset = 0;
    let left = 0;
    for (const chunk of chunks) left += chunk.length;
    while (left > 0) {
      const length = Math.min(left, MAX_PLAINTEXT);
      left -= length;
      /** Plaintext of this message: small chunks joined, large ones as they are. */
      const plain: Uint8Array[] = [];
      let small: Uint8Array[] = [];
      let smallBytes = 0;
      const gather = (): void => {
        if (smallBytes > 0) plain.push(concat(small));
        small = [];
        smallBytes = 0;
      };
      for (let wanted = length; wanted > 0; ) {
        const chunk = chunks[index] as Uint8Array;
        const size = Math.min(chunk.length - offset, wanted);
        const piece = size === chunk.length ? chunk : chunk.subarray(offset, offset + size);
        wanted -= size;
        offset += size;
        if (offset === chunk.length) {
          index++;
          offset = 0;
        }
        if (size < SMALL) {
          small.push(piece);
          smallBytes += size;
        } else {
          gather();
          plain.push(piece);
        }
      }
      gather();
      this.#send(length + TAG_LENGTH, this.#sending.seal(EMPTY, plain));
    }
  }

  /** Writes one message of `length` bytes. */
  #send(length: number, pieces: Uint8Array[]): void {
    const first = pieces[0];
    if (length <= SMALL || first === undefined) {
      const frame = new Uint8Array(2 + length);
      frame[0] = length >>> 8;
      frame[1] = length;
      let at = 2;
      for (const piece of pieces) {
        frame.set(piece, at);
        at += piece.length;
      }
      if (!this.#stream.write(frame)) this.#full = true;
      return;
    }
    this.#stream.write(Uint8Array.of(length >>> 8, length & 0xff));
    for (const piece of pieces) {
      if (piece.length > 0 && !this.#stream.write(piece)) this.#full = true;
    }
  }

  async read(_into?: Uint8Array, signal?: AbortSignal): Promise<Uint8Array | null> {
    const back = this.#putBack.pop();
    if (back !== undefined) return back;
    for (;;) {
      const chunk = this.#plain.shift();
      if (chunk !== undefined) return chunk;
      if (this.#failure !== undefined) throw this.#failure;
      const sealed = await this.#stream.read(undefined, signal);
      if (sealed === null) {
        if (this.#length >= 0 || this.#lengthByte >= 0) {
          throw this.#fail('ERR_EOF', 'the peer closed the connection inside a message');
        }
        return null;
      }
      this.#decrypt(sealed);
    }
  }

  #decrypt(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#length < 0) {
        const byte = chunk[at++] as number;
        if (this.#lengthByte < 0) {
          this.#lengthByte = byte;
          continue;
        }
        this.#length = this.#missing = (this.#lengthByte << 8) | byte;
        this.#lengthByte = -1;
        if (this.#length < TAG_LENGTH) {
          this.#fail('ERR_PROTOCOL_VIOLATION', `message of ${this.#length} bytes has no tag`);
          return;
        }
        continue;
      }
      const size = Math.min(this.#missing, chunk.length - at);
      this.#pieces.push(chunk.subarray(at, at + size));
      at += size;
      this.#missing -= size;
      if (this.#missing === 0) {
        if (!this.#open()) return;
      } else if (this.#pieces.length === MAX_PIECES) {
        this.#pieces = [concat(this.#pieces)];
      }
    }
  }

  #open(): boolean {
    const tag = takeTag(this.#pieces);
    const plain = this.#receiving.open(EMPTY, this.#pieces, tag);
    this.#pieces = [];
    this.#length = -1;
    if (plain === undefined) {
      this.#fail('ERR_PROTOCOL_VIOLATION', 'a message is not authentic');
      return false;
    }
    for (const chunk of plain) if (chunk.length > 0) this.#plain.push(chunk);
    return true;
  }

  #fail(code: 'ERR_PROTOCOL_VIOLATION' | 'ERR_EOF', what: string): LeanError {
    this.#failure ??= new LeanError(code, `noise: ${what}`);
    this.#pieces = [];
    return this.#failure;
  }

  unread(chunk: Uint8Array): void {
    if (chunk.length > 0) this.#putBack.push(chunk);
  }

  closeWrite(): void {
    this.#flush();
    this.#writeEnded = true;
    this.#stream.closeWrite();
  }

  stopSending(): void {
    this.#plain.length = 0;
    this.#putBack.length = 0;
    this.#stream.stopSending();
  }

  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    return iterate(this);
  }

  reset(): void {
    this.#writeEnded = true;
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#wire.reset();
  }

  close(): Promise<void> {
    this.#flush();
    this.#writeEnded = true;
    return this.#wire.close();
  }
}

/** Takes the last 16 bytes off `pieces`, which hold at least as many. */
const takeTag = (pieces: Uint8Array[]): Uint8Array => {
  const tag = new Uint8Array(TAG_LENGTH);
  for (let missing = TAG_LENGTH; missing > 0; ) {
    const last = pieces.pop() as Uint8Array;
    if (last.length > missing) {
      tag.set(last.subarray(last.length - missing));
      pieces.push(last.subarray(0, last.length - missing));
      return tag;
    }
    missing -= last.length;
    tag.set(last, missing);
  }
  return tag;
};
