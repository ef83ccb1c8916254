/** Connections over TCP (libp2p/specs connections/README.md): `/ip4|ip6|dns|dns4|dns6/…/tcp/N`. */

import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Multiaddr } from '@multiformats/multiaddr';
import { LeanError, messageOf } from '../errors.ts';
import { type AddressKind, type Host, hostOf, kindOf, multiaddrOf } from '../multiaddr.ts';
import { socketWire } from '../wire/socket-wire.ts';
import { type Acceptor, createAcceptor } from './acceptor.ts';
import type { Transport, TransportListener } from './transport.ts';
import { createUpgrade, type Path, type UpgradeOptions } from './upgrade.ts';

/** Milliseconds of silence after which the kernel probes whether the peer is still there. */
const KEEP_ALIVE_DELAY = 15_000;

/** @throws ERR_OPTIONS when `tls` is wanted without a certificate, or a list is empty. */
export const tcpTransport = (options: UpgradeOptions): Transport => {
  const upgrade = createUpgrade(options);
  return {
    name: 'tcp',
    handles: (address) => kindOf(address) === 'tcp',
    dial: async (address, { expectedPeer, signal }) => {
      const target = targetOf(address, ['tcp']);
      const socket = await openSocket(target, signal);
      const wire = socketWire(socket, 'tcp');
      return upgrade.asDialer(wire, socketPath('tcp', socket), expectedPeer, signal);
    },
    listen: async (address, settings) => {
      const target = targetOf(address, ['tcp']);
      const server = createServer({
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE_DELAY,
        allowHalfOpen: true,
      });
      const acceptor = createAcceptor(upgrade.limits, settings);
      server.on('connection', (socket: Socket) => {
        const arrival = acceptor.arrived(socket);
        if (arrival === undefined) return;
        const path = socketPath('tcp', socket);
        const wire = socketWire(socket, 'tcp');
        arrival.upgrade((signal) => upgrade.asListener(wire, path, signal));
      });
      return listenOn(server, target, acceptor);
    },
  };
};

/** Where to connect to or to listen, and how. */
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

/** Connects. @throws ERR_DIAL; the signal's reason. */
const openSocket = (target: Target, signal: AbortSignal): Promise<Socket> =>
  new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortReason(signal));
      return;
    }
    const socket = connect({
      host: target.host,
      port: target.port,
      family: familyOf(target),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY,
      allowHalfOpen: true,
    });
    const settle = (): void => {
      signal.removeEventListener('abort', onAbort);
      socket.off('connect', onConnect);
    };
    const onConnect = (): void => {
      settle();
      resolve(socket);
    };
    const onError = (cause: Error): void => {
      settle();
      reject(dialFailed(target, cause));
    };
    const onAbort = (): void => {
      settle();
      socket.destroy();
      reject(abortReason(signal));
    };
    // Stays in place: the socket may fail before it is wrapped, or after an abort.
    socket.on('error', onError);
    socket.on('connect', onConnect);
    signal.addEventListener('abort', onAbort);
  });

export const dialFailed = (target: Target, cause: unknown): LeanError =>
  new LeanError(
    'ERR_DIAL',
    `cannot connect to ${target.host}:${target.port}: ${messageOf(cause)}`,
    {
      cause,
    },
  );

export const abortReason = (signal: AbortSignal): Error =>
  signal.reason instanceof LeanError
    ? signal.reason
    : new LeanError('ERR_ABORTED', 'the dial was aborted', { cause: signal.reason });

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
export const listenOn = async (
  server: Server,
  target: Target,
  acceptor: Acceptor,
): Promise<TransportListener> => {
  await new Promise<void>((resolve, reject) => {
    const onError = (cause: Error): void => {
      const where = `${target.host}:${target.port}`;
      reject(new LeanError('ERR_LISTEN', `cannot listen on ${where}: ${cause.message}`, { cause }));
    };
    server.once('error', onError);
    server.listen({ host: target.host, port: target.port, backlog: 1024 }, () => {
      server.off('error', onError);
      resolve();
    });
  });
  // Running out of file descriptors, for instance: the connections that are there go on.
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
