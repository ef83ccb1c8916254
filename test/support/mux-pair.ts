/** Real TCP sockets for tests of secure channels and muxers. */

import { connect, createServer, type Socket } from 'node:net';
import { createMplex } from '../../src/mux/mplex.ts';
import type { MuxLimits } from '../../src/mux/mux-limits.ts';
import type { Muxer, MuxerName } from '../../src/mux/muxer.ts';
import { createYamux } from '../../src/mux/yamux.ts';
import { socketWire } from '../../src/wire/socket-wire.ts';
import type { Wire } from '../../src/wire/wire.ts';

/** The two ends of a TCP connection over loopback. */
export const socketPair = (): Promise<[dialed: Socket, accepted: Socket]> =>
  new Promise((resolve, reject) => {
    const server = createServer({ noDelay: true, allowHalfOpen: true });
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      if (address === null || typeof address === 'string') throw new Error('not bound');
      const dialed = connect({ port: address.port, noDelay: true, allowHalfOpen: true });
      dialed.on('error', () => {});
      server.once('connection', (accepted) => {
        accepted.on('error', () => {});
        server.close();
        if (dialed.readyState === 'open') resolve([dialed, accepted]);
        else dialed.once('connect', () => resolve([dialed, accepted]));
      });
    });
  });

/** As {@link socketPair}, wrapped. */
export const wirePair = async (): Promise<[dialed: Wire, accepted: Wire]> => {
  const [dialed, accepted] = await socketPair();
  return [socketWire(dialed, 'dialed'), socketWire(accepted, 'accepted')];
};

export const muxerOver = (
  name: MuxerName,
  wire: Wire,
  role: 'dialer' | 'listener',
  limits: Partial<MuxLimits> = {},
): Muxer => {
  const create = name === 'yamux' ? createYamux : createMplex;
  return create({ stream: wire, close: () => wire.close() }, role, limits);
};

/** A muxer at one end of a TCP connection, and a plain socket at the other, for frames written by hand. */
export const muxerAndSocket = async (
  name: MuxerName,
  role: 'dialer' | 'listener',
  limits: Partial<MuxLimits> = {},
): Promise<{ muxer: Muxer; socket: Socket; received: () => Buffer; wait: Wait }> => {
  const [socket, accepted] = await socketPair();
  const muxer = muxerOver(name, socketWire(accepted, 'accepted'), role, limits);
  let bytes: Buffer = Buffer.alloc(0);
  const waiters = new Set<() => void>();
  const wake = () => {
    for (const waiter of [...waiters]) waiter();
  };
  socket.on('data', (chunk) => {
    bytes = Buffer.concat([bytes, chunk]);
    wake();
  });
  socket.on('close', wake);
  const wait: Wait = (enough) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const done = enough(bytes);
        if (!done && !socket.destroyed) return;
        waiters.delete(look);
        if (done) resolve(bytes);
        else reject(new Error('the socket was closed before enough came'));
      };
      waiters.add(look);
      look();
    });
  return { muxer, socket, received: () => bytes, wait };
};

/** Waits until enough was received; the test's time limit bounds the wait. */
export type Wait = (enough: (bytes: Buffer) => boolean) => Promise<Buffer>;
