/** What engine tests share: an inbox for callbacks, readers, and a check that a promise stays pending. */

import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { EngineOptions, QuicConnection, QuicEngine } from '../../src/quic/engine.ts';
import type { SocketAddress } from '../../src/socket-address.ts';
import type { Stream } from '../../src/stream.ts';

/** Turns a callback into something to await, in order. */
export interface Inbox<T> {
  push(item: T): void;
  next(): Promise<T>;
  readonly size: number;
}

export const inbox = <T>(): Inbox<T> => {
  const items: T[] = [];
  const waiting: ((item: T) => void)[] = [];
  return {
    push(item) {
      const take = waiting.shift();
      if (take === undefined) items.push(item);
      else take(item);
    },
    next() {
      const item = items.shift();
      if (item !== undefined) return Promise.resolve(item);
      return new Promise((resolve) => waiting.push(resolve));
    },
    get size() {
      return items.length;
    },
  };
};

/** A connection over loopback between two engines of this process; both are closed after the test. */
export const loopbackPair = async (
  t: TestContext,
  { dialer, listener }: { readonly dialer: QuicEngine; readonly listener: QuicEngine },
  options: EngineOptions,
): Promise<{ readonly dialed: QuicConnection; readonly accepted: QuicConnection }> => {
  const accepted = inbox<QuicConnection>();
  const address = { host: '127.0.0.1', port: 0 };
  const bound = await listener.listen({ ...options, address, onConnection: accepted.push });
  t.after(() => bound.close());
  const dialed = await dialer.dial(bound.address, options);
  t.after(() => dialed.close());
  // A short idle timeout may pass before the listener's end has come about.
  const over = dialed.closed.then(({ reason }) =>
    Promise.reject(new Error(`over before it began: ${reason}`)),
  );
  return { dialed, accepted: await Promise.race([accepted.next(), over]) };
};

/** Everything up to EOF. */
export const readAll = async (stream: Stream): Promise<Buffer> => {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = await stream.read();
    if (chunk === null) return Buffer.concat(chunks);
    chunks.push(chunk);
  }
};

/** SHA-256, hex, of everything up to EOF. */
export const hashAll = async (stream: Stream): Promise<string> => {
  const hash = createHash('sha256');
  for (;;) {
    const chunk = await stream.read();
    if (chunk === null) return hash.digest('hex');
    hash.update(chunk);
  }
};

/** Sends back what it reads until EOF, then half-closes. */
export const echo = async (stream: Stream): Promise<void> => {
  for (;;) {
    const chunk = await stream.read();
    if (chunk === null) break;
    if (!stream.write(chunk)) await stream.drain();
  }
  stream.closeWrite();
};

/**
 * True when `promise` has not settled after `ms`; leaves it alone otherwise. For what has no event to wait for:
 * on a slow machine it may miss a defect, but never reports one that is not there.
 */
export const staysPending = async (promise: Promise<unknown>, ms = 150): Promise<boolean> => {
  const settled = promise.then(
    () => false,
    () => false,
  );
  return Promise.race([settled, delay(ms, true)]);
};

/** What `promise` rejects with; throws when it resolves. */
export const rejection = async (promise: Promise<unknown>): Promise<unknown> => {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`should have been rejected, but resolved with ${String(value)}`);
};

/** An UDP socket that never answers; close it after use. */
export const silentSocket = async (): Promise<{
  address: SocketAddress;
  close: () => Promise<void>;
}> => {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const { address, port } = socket.address();
  return {
    address: { host: address, port },
    close: () => new Promise((resolve) => socket.close(() => resolve())),
  };
};

/** A loopback UDP port where nothing listens (just freed). */
export const deadAddress = async (): Promise<SocketAddress> => {
  const socket = await silentSocket();
  await socket.close();
  return socket.address;
};

/** Whether `::1` can be bound here. */
export const hasIPv6 = (): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = createSocket('udp6');
    socket.once('error', () => {
      socket.close();
      resolve(false);
    });
    socket.bind(0, '::1', () => socket.close(() => resolve(true)));
  });
