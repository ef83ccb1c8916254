/** What the transports over TCP sockets share: addresses, binding, and the endpoints of a socket. */

import { createServer, type Server, type Socket } from 'node:net';
import type { Multiaddr } from '@multiformats/multiaddr';
import { LeanError, messageOf } from '../errors.ts';
import { type AddressKind, type Host, hostOf, kindOf, multiaddrOf } from '../multiaddr.ts';
import type { Acceptor } from './acceptor.ts';
import type { TransportListener } from './transport.ts';
import type { Path } from './upgrade.ts';

/** An address to connect to or to listen on. */
export interface Target extends Host {
  readonly kind: AddressKind;
}

/** @throws ERR_ADDRESS when `address` is not one of these kinds. */
export const targetOf = (address: Multiaddr, kinds: readonly AddressKind[]): Target => {
  const kind = kindOf(address);
  if (kind !== undefined && kinds.includes(kind)) return { ...hostOf(address), kind };
  throw new LeanError('ERR_ADDRESS', `${address} is not an address of ${kinds.join(' or ')}`);
};

/** For a name that must be resolved to one of them. */
export const familyOf = ({ name }: Host): 0 | 4 | 6 =>
  name === 'dns4' ? 4 : name === 'dns6' ? 6 : 0;

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
    watchIdle: (ms, expire) => socket.setTimeout(ms, expire),
  };
};

/** Binds `server`. @throws ERR_LISTEN. */
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
 * Binds `server`.
 *
 * @param reusePort other sockets may be bound to its port: SO_REUSEPORT. A port that is in use is refused all the same.
 * @throws ERR_LISTEN.
 */
export const listenOn = async (
  server: Server,
  target: Target,
  acceptor: Acceptor,
  reusePort = false,
): Promise<TransportListener> => {
  if (reusePort && target.port !== 0) {
    // With SO_REUSEPORT the kernel would let us share it.
    const probe = createServer();
    await bind(probe, target, false);
    await new Promise((resolve) => probe.close(resolve));
  }
  await bind(server, target, reusePort);
  // Such as a lack of file descriptors: existing connections go on.
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
