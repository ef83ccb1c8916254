/** A TCP or TLS socket as a wire. */

import type { Socket } from 'node:net';
import { LeanError } from '../errors.ts';
import { iterate } from '../stream/iterate.ts';
import { SendSide } from '../stream/send-side.ts';
import { pausingReceive } from './pausing-receive.ts';
import { LINGER, type Wire, WRITE_HIGH_WATER } from './wire.ts';

/**
 * Wraps a connected socket: `net.Socket` or `tls.TLSSocket`. Takes over its data and its end.
 *
 * @param id the wire's `Stream.id`.
 */
export const socketWire = (socket: Socket, id: string): Wire => {
  let ended = false;
  let corked = false;
  let closing: Promise<void> | undefined;

  const { receive, onData } = pausingReceive(socket);
  const send = new SendSide({ hasRoom: () => socket.writableLength < WRITE_HIGH_WATER });

  const onEnd = (): void => {
    ended = true;
    receive.finish();
  };

  const fail = (error: LeanError): void => {
    receive.close(error);
    send.fail(error);
  };

  const onError = (cause: Error): void => {
    fail(new LeanError('ERR_CONNECTION_CLOSED', `connection lost: ${cause.message}`, { cause }));
  };

  const onClose = (): void => {
    if (ended) onEnd();
    fail(new LeanError('ERR_CONNECTION_CLOSED', 'the connection is closed'));
  };

  const onDrain = (): void => send.wake();

  const uncork = (): void => {
    corked = false;
    socket.uncork();
  };

  // Either may have happened before the listeners are added.
  if (socket.readableEnded) onEnd();
  if (socket.destroyed) onClose();
  socket.on('data', onData);
  socket.on('end', onEnd);
  socket.on('error', onError);
  socket.on('close', onClose);
  socket.on('drain', onDrain);

  const wire: Wire = {
    id,
    read: (into, signal) => receive.read(into, signal),
    unread: (chunk) => receive.unread(chunk),

    write: (chunk) => {
      send.assertOpen();
      if (!corked) {
        corked = true;
        socket.cork();
        process.nextTick(uncork);
      }
      socket.write(chunk);
      return socket.writableLength < WRITE_HIGH_WATER;
    },

    drain: (signal) => send.drain(signal),

    closeWrite: () => {
      if (send.close()) socket.end();
    },

    stopSending: () =>
      receive.abandon(new LeanError('ERR_STREAM_CLOSED', 'this side stopped reading')),

    reset: () => {
      fail(new LeanError('ERR_CONNECTION_CLOSED', 'the connection was reset by us'));
      socket.destroy();
    },

    [Symbol.asyncIterator]: () => iterate(wire),

    close: () => {
      closing ??= new Promise((resolve) => {
        receive.dropUnread();
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
      for (const chunk of receive.takeAll().reverse()) socket.unshift(chunk);
      return socket;
    },
  };
  return wire;
};
