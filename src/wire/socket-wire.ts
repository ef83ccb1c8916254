/** A connected socket, `net.Socket` or `tls.TLSSocket`, as a wire. */

import type { Socket } from 'node:net';
import { type Deferred, defer } from '../deferred.ts';
import { LeanError } from '../errors.ts';
import { LINGER, READ_HIGH_COUNT, READ_HIGH_WATER, type Wire, WRITE_HIGH_WATER } from './wire.ts';

/** Wraps a connected socket: `net.Socket` or `tls.TLSSocket`. Takes over its data and its end. */
export const socketWire = (socket: Socket, id: string): Wire => {
  /** What `unread` put back, last first. */
  const putBack: Uint8Array[] = [];
  const received: Uint8Array[] = [];
  let receivedBytes = 0;
  let paused = false;
  let ended = false;
  let corked = false;
  let closing: Promise<void> | undefined;
  let failure: LeanError | undefined;
  let reader: Deferred<Uint8Array | null> | undefined;
  let writers: Deferred<void> | undefined;

  const onData = (chunk: Uint8Array): void => {
    if (closing !== undefined || failure !== undefined) return;
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
  };

  const onEnd = (): void => {
    ended = true;
    if (received.length > 0 || reader === undefined) return;
    const { resolve } = reader;
    reader = undefined;
    resolve(null);
  };

  const fail = (error: LeanError): void => {
    failure ??= error;
    reader?.reject(failure);
    writers?.reject(failure);
    reader = undefined;
    writers = undefined;
  };

  const onError = (cause: Error): void => {
    fail(new LeanError('ERR_CONNECTION_CLOSED', `connection lost: ${cause.message}`, { cause }));
  };

  const onClose = (): void => {
    if (ended) onEnd();
    fail(new LeanError('ERR_CONNECTION_CLOSED', 'the connection is closed'));
  };

  const onDrain = (): void => {
    writers?.resolve();
    writers = undefined;
  };

  const uncork = (): void => {
    corked = false;
    socket.uncork();
  };

  // Both may have come before we listen for them.
  ended = socket.readableEnded;
  if (socket.destroyed) onClose();
  socket.on('data', onData);
  socket.on('end', onEnd);
  socket.on('error', onError);
  socket.on('close', onClose);
  socket.on('drain', onDrain);

  const wire: Wire = {
    id,

    read: () => {
      const back = putBack.pop();
      if (back !== undefined) return Promise.resolve(back);
      const chunk = received.shift();
      if (chunk !== undefined) {
        receivedBytes -= chunk.length;
        if (paused && receivedBytes < READ_HIGH_WATER / 2 && failure === undefined) {
          paused = false;
          socket.resume();
        }
        return Promise.resolve(chunk);
      }
      if (ended) return Promise.resolve(null);
      if (failure !== undefined) return Promise.reject(failure);
      reader = defer();
      return reader.promise;
    },

    unread: (chunk) => {
      if (chunk.length > 0) putBack.push(chunk);
    },

    write: (chunk) => {
      if (failure !== undefined) throw failure;
      if (socket.writableEnded) {
        throw new LeanError('ERR_STREAM_CLOSED', 'write on a connection that we closed');
      }
      if (!corked) {
        corked = true;
        socket.cork();
        process.nextTick(uncork);
      }
      socket.write(chunk);
      return socket.writableLength < WRITE_HIGH_WATER;
    },

    drain: () => {
      if (failure !== undefined) return Promise.reject(failure);
      if (socket.writableLength < WRITE_HIGH_WATER) return Promise.resolve();
      writers ??= defer();
      return writers.promise;
    },

    closeWrite: () => {
      socket.end();
    },

    stopSending: () => {
      putBack.length = 0;
      received.length = 0;
      receivedBytes = 0;
    },

    reset: () => {
      fail(new LeanError('ERR_CONNECTION_CLOSED', 'the connection was reset by us'));
      socket.destroy();
    },

    close: () => {
      closing ??= new Promise((resolve) => {
        putBack.length = 0;
        received.length = 0;
        const timer = setTimeout(() => {
          socket.destroy();
          resolve();
        }, LINGER);
        socket.once('close', () => {
          clearTimeout(timer);
          resolve();
        });
        if (socket.destroyed) {
          clearTimeout(timer);
          resolve();
          return;
        }
        socket.resume();
        socket.end(() => {
          resolve();
          if (ended) socket.destroy();
          else socket.once('end', () => socket.destroy());
        });
        fail(new LeanError('ERR_CONNECTION_CLOSED', 'the connection was closed by us'));
      });
      return closing;
    },

    detach: () => {
      socket.pause();
      socket.off('data', onData);
      socket.off('end', onEnd);
      socket.off('error', onError);
      socket.off('close', onClose);
      socket.off('drain', onDrain);
      if (corked) uncork();
      received.unshift(...putBack.reverse());
      for (const chunk of received.splice(0).reverse()) socket.unshift(chunk);
      return socket;
    },
  };
  return wire;
};
