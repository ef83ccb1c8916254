/**
 * The Noise secure channel (libp2p/specs noise/README.md): every Noise message is preceded by its
 * length, two bytes, big-endian.
 */

import { LeanError } from '../errors.ts';
import type { HostKey } from '../identity/keys.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { readExactly } from '../stream/bytes.ts';
import { iterate } from '../stream/iterate.ts';
import type { Stream } from '../stream.ts';
import type { Wire } from '../wire/wire.ts';
import { TAG_LENGTH } from './chacha.ts';
import { encodePayload, verifyPayload } from './noise-payload.ts';
import {
  type CipherState,
  generateNoiseKeyPair,
  type Handshake,
  MAX_MESSAGE,
  MAX_PLAINTEXT,
  type NoiseKeyPair,
  startHandshake,
} from './noise-state.ts';
import type { SecureChannel, SecureOptions } from './secure-channel.ts';

export const NOISE = '/noise';

const EMPTY = new Uint8Array(0);

/** What this side sends in every handshake. */
export interface NoiseIdentity {
  readonly staticKey: NoiseKeyPair;
  /** The encoded `NoiseHandshakePayload`. */
  readonly payload: Uint8Array;
}

/**
 * Makes a static key and has the host key sign it, once for many connections: the specification
 * allows it, and it saves an X25519 and an Ed25519 operation in each handshake.
 */
export const createNoiseIdentity = (hostKey: HostKey, muxers: readonly string[]): NoiseIdentity => {
  const staticKey = generateNoiseKeyPair();
  const identity = { staticKey, payload: encodePayload(hostKey, staticKey.publicKey, muxers) };
  rehearse(identity);
  return identity;
};

/**
 * A handshake with ourselves. OpenSSL takes milliseconds to look up an algorithm for the first time; this
 * takes them out of the first connection's handshake.
 */
const rehearse = ({ staticKey, payload }: NoiseIdentity): void => {
  const dialer = startHandshake({ initiator: true, staticKey });
  const listener = startHandshake({ initiator: false, staticKey });
  listener.read(dialer.write(EMPTY));
  verifyPayload(dialer.read(listener.write(payload)), dialer.remoteStatic);
  listener.read(dialer.write(payload));
  dialer.finish().send.seal(EMPTY, [payload]);
};

/**
 * Performs the handshake over `stream`, which carries `wire` (or is it).
 *
 * @throws ERR_HANDSHAKE, ERR_PEER_ID_MISMATCH, ERR_KEY_MALFORMED, ERR_KEY_TYPE; ERR_EOF when the
 * peer closed; ERR_PROTOCOL_NOT_SUPPORTED when it named muxers and we support none of them; what the stream throws.
 */
export const secureWithNoise = async (
  stream: Stream,
  wire: Wire,
  identity: NoiseIdentity,
  options: SecureOptions,
): Promise<SecureChannel> => {
  const isDialer = options.role === 'dialer';
  const handshake = startHandshake({ initiator: isDialer, staticKey: identity.staticKey });
  let payload: Uint8Array;
  if (isDialer) {
    sendMessage(stream, handshake.write(EMPTY));
    payload = handshake.read(await readMessage(stream));
  } else {
    handshake.read(await readMessage(stream));
    sendMessage(stream, handshake.write(identity.payload));
    payload = handshake.read(await readMessage(stream));
  }
  const { peer, muxers } = verify(handshake, payload, options.expectedPeer);
  const muxer = isDialer ? agree(options.muxers, muxers) : agree(muxers, options.muxers);
  if (isDialer) sendMessage(stream, handshake.write(identity.payload));
  const { send, receive } = handshake.finish();
  return { wire: new NoiseWire(stream, wire, send, receive), remotePeer: peer, muxer };
};

const verify = (handshake: Handshake, payload: Uint8Array, expected: PeerId | undefined) => {
  const verified = verifyPayload(payload, handshake.remoteStatic);
  if (expected !== undefined && !expected.equals(verified.peer)) {
    throw new LeanError(
      'ERR_PEER_ID_MISMATCH',
      `expected peer ${expected}, found ${verified.peer}`,
    );
  }
  return verified;
};

/** connections/inlined-muxer-negotiation.md: the first of the dialer's muxers that both support. */
const agree = (
  dialers: readonly string[] | undefined,
  listeners: readonly string[] | undefined,
): string | undefined => {
  if (dialers === undefined || listeners === undefined) return undefined;
  const muxer = dialers.find((name) => listeners.includes(name));
  if (muxer !== undefined) return muxer;
  throw new LeanError(
    'ERR_PROTOCOL_NOT_SUPPORTED',
    `no common muxer: the dialer speaks ${dialers.join(', ')}, the listener ${listeners.join(', ')}`,
  );
};

const sendMessage = (stream: Stream, message: Uint8Array): void => {
  if (message.length > MAX_MESSAGE) throw new LeanError('ERR_HANDSHAKE', 'noise: message too long');
  const frame = new Uint8Array(2 + message.length);
  frame[0] = message.length >>> 8;
  frame[1] = message.length;
  frame.set(message, 2);
  stream.write(frame);
};

const readMessage = async (stream: Stream): Promise<Uint8Array> => {
  const prefix = await readExactly(stream, 2);
  const length = ((prefix[0] as number) << 8) | (prefix[1] as number);
  if (length === 0) throw new LeanError('ERR_HANDSHAKE', 'noise: empty handshake message');
  return readExactly(stream, length);
};

/** Chunks shorter than this are gathered into one before they are encrypted. */
const SMALL = 2048;
/** With more plaintext than this waiting for the end of the turn, writers must wait. */
const WRITE_HIGH_WATER = 256 << 10;
/** A message that arrives in more pieces than this is copied together. */
const MAX_PIECES = 16;

/** Encrypts what is written in one turn of the event loop into as few messages as hold it. */
class NoiseWire implements Wire {
  readonly id: string;
  readonly #stream: Stream;
  readonly #wire: Wire;
  readonly #sending: CipherState;
  readonly #receiving: CipherState;

  /** Plaintext to encrypt at the end of the turn. */
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #flushScheduled = false;
  #full = false;
  #writeEnded = false;

  /** Decrypted and not yet read plaintext, in order. */
  readonly #plain: Uint8Array[] = [];
  /** What `unread()` put back, in reverse order. */
  readonly #putBack: Uint8Array[] = [];
  /** Pieces of the message that is arriving, its length (-1: not yet known) and what is missing. */
  #pieces: Uint8Array[] = [];
  #length = -1;
  #missing = 0;
  /** The first byte of a length that was cut in two, or -1. */
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
      // The stream is closed: the next write() or read() says so.
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
        if (smallBytes > 0) plain.push(join(small, smallBytes));
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
        this.#pieces = [join(this.#pieces, this.#length - this.#missing)];
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

/** A single chunk is returned as it is. */
const join = (chunks: readonly Uint8Array[], length: number): Uint8Array => {
  if (chunks.length === 1) return chunks[0] as Uint8Array;
  const out = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
};

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
