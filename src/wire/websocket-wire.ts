/** A WebSocket as a wire: what is written in one turn of the event loop leaves as one message. */

import { randomFillSync } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { LeanError } from '../errors.ts';
import { iterate } from '../stream/iterate.ts';
import { SendSide } from '../stream/send-side.ts';
import { pausingReceive } from './pausing-receive.ts';
import { LINGER, type Wire, WRITE_HIGH_WATER } from './wire.ts';

/** The longest message that we send, bytes: below the limit of all known peers, the smallest of which is 1 MiB. */
const MAX_SENT = 256 << 10;
/** Close codes (RFC 6455 section 7.4.1). */
const NORMAL = 1000;
const GOING_AWAY = 1001;
const NO_STATUS = 1005;

/** First byte of a header: a final binary frame (RFC 6455 section 5.2). */
const BINARY = 0x82;
/** The bit of the second byte that marks a masked frame. */
const MASKED = 0x80;
/** Room for the longest header, 14 bytes, rounded up so that the payload starts at a multiple of four. */
const HEAD_ROOM = 16;

/**
 * Wraps an open WebSocket. Takes over its messages and its end.
 *
 * @param stream the TCP or TLS socket that it runs over.
 * @param masked whether we are the client, whose frames must be masked.
 * @param id the wire's `Stream.id`.
 */
export const wsWire = (socket: WebSocket, stream: Duplex, masked: boolean, id: string): Wire => {
  /** Chunks for the message that is sent at the end of this turn of the event loop. */
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  let flushScheduled = false;
  let closing: Promise<void> | undefined;

  const { receive, onData } = pausingReceive(socket);
  const send = new SendSide({ hasRoom: () => stream.writableLength < WRITE_HIGH_WATER });

  const fail = (error: LeanError): void => {
    pending = [];
    pendingBytes = 0;
    receive.close(error);
    send.fail(error);
  };

  socket.on('message', (message) => {
    // `binaryType` is `nodebuffer`. Text, which some peers may send, arrives as its bytes.
    const chunk = message as Buffer;
    if (chunk.length > 0) onData(chunk);
  });

  socket.on('error', (cause) => {
    fail(new LeanError('ERR_CONNECTION_CLOSED', `connection lost: ${cause.message}`, { cause }));
  });

  socket.on('close', (code) => {
    if (code === NORMAL || code === GOING_AWAY || code === NO_STATUS) receive.finish();
    fail(new LeanError('ERR_CONNECTION_CLOSED', `the WebSocket was closed with code ${code}`));
  });

  // Frames are written here and not by `ws`, which masks byte by byte (eight times slower) and does not
  // report back-pressure. Each is written whole, so that control frames, which `ws` writes, go between them.
  const flush = (): void => {
    flushScheduled = false;
    const chunks = pending;
    pending = [];
    pendingBytes = 0;
    if (socket.readyState !== socket.OPEN) return;
    let message: Uint8Array[] = [];
    let length = 0;
    for (const chunk of chunks) {
      for (let at = 0; at < chunk.length; ) {
        const size = Math.min(chunk.length - at, MAX_SENT - length);
        message.push(size === chunk.length ? chunk : chunk.subarray(at, at + size));
        at += size;
        length += size;
        if (length < MAX_SENT) continue;
        sendMessage(message, length);
        message = [];
        length = 0;
      }
    }
    if (length > 0) sendMessage(message, length);
  };

  const sendMessage = (chunks: readonly Uint8Array[], length: number): void => {
    if (masked) {
      stream.write(maskedFrame(chunks, length));
      return;
    }
    stream.cork();
    stream.write(frameHead(length, 0));
    for (const chunk of chunks) stream.write(chunk);
    stream.uncork();
  };

  stream.on('drain', () => send.wake());

  const endWriting = (): void => {
    if (!send.close()) return;
    flush();
    socket.close(NORMAL);
  };

  const wire: Wire = {
    id,

    read: (into, signal) => receive.read(into, signal),
    unread: (chunk) => receive.unread(chunk),

    write: (chunk) => {
      send.assertOpen();
      pending.push(chunk);
      pendingBytes += chunk.length;
      if (!flushScheduled) {
        flushScheduled = true;
        process.nextTick(flush);
      }
      return stream.writableLength + pendingBytes < WRITE_HIGH_WATER;
    },

    drain: (signal) => {
      flush();
      return send.drain(signal);
    },

    // A WebSocket has no half-close: this ends both directions once the peer has answered the close frame.
    closeWrite: endWriting,

    stopSending: () =>
      receive.abandon(new LeanError('ERR_STREAM_CLOSED', 'this side stopped reading')),

    reset: () => {
      fail(new LeanError('ERR_CONNECTION_CLOSED', 'the connection was reset by us'));
      socket.terminate();
    },

    [Symbol.asyncIterator]: () => iterate(wire),

    close: () => {
      closing ??= new Promise((resolve) => {
        receive.dropUnread();
        if (socket.readyState === socket.CLOSED) {
          resolve();
          return;
        }
        const timer = setTimeout(() => {
          socket.terminate();
          resolve();
        }, LINGER);
        socket.once('close', () => {
          clearTimeout(timer);
          resolve();
        });
        socket.resume();
        endWriting();
        fail(new LeanError('ERR_CONNECTION_CLOSED', 'the connection was closed by us'));
      });
      return closing;
    },
  };
  return wire;
};

/** The header of a frame with a payload of `length` bytes, without the masking key. @param flag MASKED or 0. */
const frameHead = (length: number, flag: number): Buffer => {
  if (length < 126) return Buffer.from([BINARY, flag | length]);
  if (length < 0x1_0000) return Buffer.from([BINARY, flag | 126, length >>> 8, length & 0xff]);
  const head = Buffer.alloc(10);
  head[0] = BINARY;
  head[1] = flag | 127;
  head.writeUIntBE(length, 4, 6);
  return head;
};

/** A frame whose payload is `chunks`, `length` bytes in all, masked word by word with a new random key. */
const maskedFrame = (chunks: readonly Uint8Array[], length: number): Uint8Array => {
  const words = (length + 3) >>> 2;
  const frame = Buffer.allocUnsafeSlow(HEAD_ROOM + 4 * words);
  let at = HEAD_ROOM;
  for (const chunk of chunks) {
    frame.set(chunk, at);
    at += chunk.length;
  }
  const key = nextKey();
  const payload = new Int32Array(frame.buffer, HEAD_ROOM, words);
  const word = key[0] as number;
  for (let i = 0; i < words; i++) payload[i] = (payload[i] as number) ^ word;
  const head = frameHead(length, MASKED);
  frame.set(new Uint8Array(key.buffer, key.byteOffset, 4), HEAD_ROOM - 4);
  frame.set(head, HEAD_ROOM - 4 - head.length);
  return frame.subarray(HEAD_ROOM - 4 - head.length, HEAD_ROOM + length);
};

/** Random masking keys, made many at once. */
const keys = new Int32Array(1024);
let keysUsed = keys.length;

/** A masking key: one element, four random bytes. */
const nextKey = (): Int32Array => {
  if (keysUsed === keys.length) {
    randomFillSync(keys);
    keysUsed = 0;
  }
  return keys.subarray(keysUsed, ++keysUsed);
};
