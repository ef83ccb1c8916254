/** What the transports over TCP sockets share: their addresses, binding, and the ends of a socket. */

import { createServer, type Server, type Socket } from 'node:net';
import type { Multiaddr } from '@multiformats/multiaddr';
import { LeanError, messageOf } from '../errors.ts';
import { MAX_TIMEOUT } from '../limit-ranges.ts';
import {
  type AddressKind,
  addressError,
  type Host,
  hostOf,
  kindOf,
  multiaddrOf,
} from '../multiaddr.ts';
import type { Acceptor } from './acceptor.ts';
import type { TransportListener } from './transport.ts';
import type { Path } from './upgrade.ts';

/** An address to connect to or to listen on. */
export interface Target extends Host {
  readonly kind: AddressKind;
}

/** The target that `address` names. @throws ERR_ADDRESS when it is not of one of `kinds`. */
export const targetOf = (address: Multiaddr, kinds: readonly AddressKind[]): Target => {
  const kind = kindOf(address);
  if (kind !== undefined && kinds.includes(kind)) return { ...hostOf(address), kind };
  throw addressError(address.toString(), `it is not an address of ${kinds.join(' or ')}`);
};

export const dialFailed = (target: Target, cause: unknown): LeanError =>
  new LeanError(
    'ERR_DIAL',
    `cannot connect to ${target.host}:${target.port}: ${messageOf(cause)}`,
    {
      cause,
    },
  );

/** The two ends of a connected socket. */
export const socketPath = (kind: AddressKind, socket: Socket): Path => {
  const { localAddress = '0.0.0.0', localPort = 0 } = socket;
  const { remoteAddress = '0.0.0.0', remotePort = 0 } = socket;
  return {
    transport: kind,
    localAddress: () => multiaddrOf(kind, { host: localAddress, port: localPort }),
    remoteAddress: () => multiaddrOf(kind, { host: remoteAddress, port: remotePort }),
    // Longer ones Node.js cuts to this one, with a warning for each.
    watchIdle: (ms, expire) => socket.setTimeout(Math.min(ms, MAX_TIMEOUT), expire),
  };
};

/** Binds `server` to `target`. @throws ERR_LISTEN. */
const bind = (server: Server, { host, port }: Target, reusePort: boolean): Promise<void> =>
  new Promise((resolve, reject) => {
    const onError = (cause: Error): void => {
      const where = `${host}:${port}`;
      reject(new LeanError('ERR_LISTEN', `cannot listen on ${where}: ${cause.message}`, { cause }));
    };
    server.once('error', onError);
    server.listen({ host, port, backlog: 1024, reusePort }, () => {
      server.off('error', onError);
      resolve();
    });
  });

/**
 * Binds `server`, and makes a listener of it.
 *
 * @param acceptor closes the sockets that the server has accepted.
 * @param reusePort sets SO_REUSEPORT: other sockets of ours may be bound to the port. A port that is in use is still
 * refused.
 * @throws ERR_LISTEN.
 */
export const listenOn = async (
  server: Server,
  target: Target,
  acceptor: Acceptor,
  reusePort = false,
): Promise<TransportListener> => {
  if (reusePort && target.port !== 0) {
    // With SO_REUSEPORT the kernel would let us share the port with another process.
    const probe = createServer();
    await bind(probe, target, false);
    await new Promise((resolve) => probe.close(resolve));
  }
  await bind(server, target, reusePort);
  // Errors such as a lack of file descriptors: existing connections go on.
  server.on('error', () => {});
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new LeanError('ERR_LISTEN', 'not bound');
  let closing: Promise<void> | undefined;
  const address = multiaddrOf(target.kind, { host: bound.address, port: bound.port });
  return {
    address,
    close: () => {
      closing ??= new Promise((resolve) => {
        server.close(() => resolve());
        acceptor.close().then(() => {
          if ('closeAllConnections' in server)
            (server as { closeAllConnections(): void }).closeAllConnections();
        });
      });
      return closing;
    },
  };
};
