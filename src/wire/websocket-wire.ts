/** A WebSocket as a wire: what is written in one turn of the event loop leaves as one message. */

import { randomFillSync } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { LeanError } from '../errors.ts';
import { iterate } from '../stream/iterate.ts';
import { ReceiveSide } from '../stream/receive-side.ts';
import { SendSide } from '../stream/send-side.ts';
import { LINGER, READ_HIGH_WATER, type Wire, WRITE_HIGH_WATER } from './wire.ts';

/** The longest message sent: less than any peer's limit, of which 1 MiB is the smallest known. */
const MAX_SENT = 256 << 10;
/** Close codes (RFC 6455 section 7.4.1). */
const NORMAL = 1000;
const GOING_AWAY = 1001;
const NO_STATUS = 1005;

/** A final binary frame (RFC 6455 section 5.2), and the bit that says that it is masked. */
const BINARY = 0x82;
const MASKED = 0x80;
/** Room for the longest head, so that the payload starts at a multiple of four. */
const HEAD_ROOM = 16;

/**
 * Wraps an open WebSocket. Takes over its messages and its end.
 *
 * @param stream the socket under it.
 * @param masked whether we are the client, whose frames must be masked.
 */
export const wsWire = (socket: WebSocket, stream: Duplex, masked: boolean, id: string): Wire => {
  let paused = false;
  /** Chunks for the message of this turn. */
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  let flushScheduled = false;
  let closing: Promise<void> | undefined;

  const receive = new ReceiveSide({
    onTaken: () => {
      if (!paused || receive.bytes >= READ_HIGH_WATER / 2 || !receive.isOpen) return;
      paused = false;
      socket.resume();
    },
  });
  const send = new SendSide({ hasRoom: () => stream.writableLength < WRITE_HIGH_WATER });

  const fail = (error: LeanError): void => {
    pending = [];
    pendingBytes = 0;
    receive.close(error);
    send.fail(error);
  };

  socket.on('message', (message) => {
    // `binaryType` is `nodebuffer`; text, which some peers may send, comes as its bytes.
    const chunk = message as Buffer;
    if (chunk.length === 0 || !receive.isOpen) return;
    receive.push(chunk);
    if (paused || receive.bytes < READ_HIGH_WATER) return;
    paused = true;
    socket.pause();
  });

  socket.on('error', (cause) => {
    fail(new LeanError('ERR_CONNECTION_CLOSED', `connection lost: ${cause.message}`, { cause }));
  });

  socket.on('close', (code) => {
    if (code === NORMAL || code === GOING_AWAY || code === NO_STATUS) receive.finish();
    fail(new LeanError('ERR_CONNECTION_CLOSED', `the WebSocket was closed with code ${code}`));
  });

  // Frames are written here and not by `ws`, which masks byte by byte (eight times slower) and does not
  // report back-pressure. Each is written whole, so that the control frames of `ws` come between them.
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

    // A WebSocket has no half-close: this ends both directions once the peer has agreed.
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

/** The head of a frame of `length` bytes, without a masking key. */
const frameHead = (length: number, flag: number): Buffer => {
  if (length < 126) return Buffer.from([BINARY, flag | length]);
  if (length < 0x1_0000) return Buffer.from([BINARY, flag | 126, length >>> 8, length & 0xff]);
  const head = Buffer.alloc(10);
  head[0] = BINARY;
  head[1] = flag | 127;
  head.writeUIntBE(length, 4, 6);
  return head;
};

/** A whole frame with the concatenation of `chunks`, masked word by word with a new random key. */
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

const keys = new Int32Array(1024);
let keysUsed = keys.length;

/** Four random bytes. */
const nextKey = (): Int32Array => {
  if (keysUsed === keys.length) {
    randomFillSync(keys);
    keysUsed = 0;
  }
  return keys.subarray(keysUsed, ++keysUsed);
};
