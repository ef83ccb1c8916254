/** A WebSocket as a wire: what is written in one turn of the event loop leaves as one message. */

import type { WebSocket } from 'ws';
import { LeanError } from '../errors.ts';
import { LINGER, type Wire, WRITE_HIGH_WATER } from './wire.ts';

/** The longest message sent; more than the largest Noise message with its length. */
const MAX_SENT = 128 << 10;
/** Bytes, and messages, received and not yet read above which the socket is paused. */
const READ_HIGH_WATER = 256 << 10;
const READ_HIGH_COUNT = 1024;

/** Close codes (RFC 6455 section 7.4.1). */
const NORMAL = 1000;
const GOING_AWAY = 1001;
const NO_STATUS = 1005;

/** Wraps an open WebSocket. Takes over its messages and its end. */
export const wsWire = (socket: WebSocket, id: string): Wire => {
  /** What `unread` put back, last first. */
  const putBack: Uint8Array[] = [];
  const received: Uint8Array[] = [];
  let receivedBytes = 0;
  let paused = false;
  let ended = false;
  let failure: LeanError | undefined;
  let reader: PromiseWithResolvers<Uint8Array | null> | undefined;

  /** Chunks for the message of this turn. */
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  let flushScheduled = false;
  /** Bytes handed to the socket that have not left yet. */
  let inFlight = 0;
  let writers: PromiseWithResolvers<void> | undefined;
  let writeEnded = false;
  let closing: Promise<void> | undefined;

  const fail = (error: LeanError): void => {
    failure ??= error;
    pending = [];
    pendingBytes = 0;
    reader?.reject(failure);
    writers?.reject(failure);
    reader = undefined;
    writers = undefined;
  };

  socket.on('message', (message) => {
    if (closing !== undefined || failure !== undefined) return;
    // `binaryType` is `nodebuffer`; text, which some peers may send, comes as its bytes.
    const chunk = message as Buffer;
    if (chunk.length === 0) return;
    if (reader !== undefined) {
      const { resolve } = reader;
      reader = undefined;
      resolve(chunk);
      return;
    }
    received.push(chunk);
    receivedBytes += chunk.length;
    if (!paused && (receivedBytes >= READ_HIGH_WATER || received.length >= READ_HIGH_COUNT)) {
      paused = true;
      socket.pause();
    }
  });

  socket.on('error', (cause) => {
    fail(new LeanError('ERR_CONNECTION_CLOSED', `connection lost: ${cause.message}`, { cause }));
  });

  socket.on('close', (code) => {
    if (code === NORMAL || code === GOING_AWAY || code === NO_STATUS) {
      ended = true;
      if (received.length === 0) {
        reader?.resolve(null);
        reader = undefined;
      }
    }
    fail(new LeanError('ERR_CONNECTION_CLOSED', `the WebSocket was closed with code ${code}`));
  });

  const flush = (): void => {
    flushScheduled = false;
    const chunks = pending;
    let left = pendingBytes;
    pending = [];
    pendingBytes = 0;
    let index = 0;
    let offset = 0;
    while (left > 0) {
      const length = Math.min(left, MAX_SENT);
      left -= length;
      const first = chunks[index] as Uint8Array;
      if (offset === 0 && first.length === length) {
        index++;
        send(first);
        continue;
      }
      const message = Buffer.allocUnsafe(length);
      for (let filled = 0; filled < length; ) {
        const chunk = chunks[index] as Uint8Array;
        const size = Math.min(chunk.length - offset, length - filled);
        message.set(size === chunk.length ? chunk : chunk.subarray(offset, offset + size), filled);
        filled += size;
        offset += size;
        if (offset === chunk.length) {
          index++;
          offset = 0;
        }
      }
      send(message);
    }
  };

  const send = (message: Uint8Array): void => {
    const { length } = message;
    inFlight += length;
    socket.send(message, { binary: true }, () => {
      inFlight -= length;
      if (writers !== undefined && inFlight < WRITE_HIGH_WATER / 2) {
        writers.resolve();
        writers = undefined;
      }
    });
  };

  const endWriting = (): void => {
    if (writeEnded) return;
    flush();
    writeEnded = true;
    socket.close(NORMAL);
  };

  return {
    id,

    read: () => {
      const back = putBack.pop();
      if (back !== undefined) return Promise.resolve(back);
      const chunk = received.shift();
      if (chunk !== undefined) {
        receivedBytes -= chunk.length;
        if (paused && receivedBytes < READ_HIGH_WATER / 2) {
          paused = false;
          socket.resume();
        }
        return Promise.resolve(chunk);
      }
      if (ended) return Promise.resolve(null);
      if (failure !== undefined) return Promise.reject(failure);
      reader = Promise.withResolvers();
      return reader.promise;
    },

    unread: (chunk) => {
      if (chunk.length > 0) putBack.push(chunk);
    },

    write: (chunk) => {
      if (failure !== undefined) throw failure;
      if (writeEnded) {
        throw new LeanError('ERR_STREAM_CLOSED', 'write on a connection that we closed');
      }
      pending.push(chunk);
      pendingBytes += chunk.length;
      if (!flushScheduled) {
        flushScheduled = true;
        process.nextTick(flush);
      }
      return inFlight + pendingBytes < WRITE_HIGH_WATER;
    },

    drain: () => {
      if (failure !== undefined) return Promise.reject(failure);
      flush();
      if (inFlight < WRITE_HIGH_WATER) return Promise.resolve();
      writers ??= Promise.withResolvers();
      return writers.promise;
    },

    // A WebSocket has no half-close: this ends both directions once the peer has agreed.
    closeWrite: endWriting,

    stopSending: () => {
      putBack.length = 0;
      received.length = 0;
      receivedBytes = 0;
    },

    reset: () => {
      fail(new LeanError('ERR_CONNECTION_CLOSED', 'the connection was reset by us'));
      socket.terminate();
    },

    close: () => {
      closing ??= new Promise((resolve) => {
        putBack.length = 0;
        received.length = 0;
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
};
