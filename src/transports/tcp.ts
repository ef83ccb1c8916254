/** Connections over TCP (libp2p/specs connections/README.md): `/ip4|ip6|dns|dns4|dns6/…/tcp/N`. */

import { createServer, Socket } from 'node:net';
import type { Role } from '../connection.ts';
import { abortedBy, startDeadline } from '../deadline.ts';
import { isLeanError, LeanError } from '../errors.ts';
import { hostOf, kindOf } from '../multiaddr.ts';
import { socketWire } from '../wire/socket-wire.ts';
import type { Wire } from '../wire/wire.ts';
import { createAcceptor } from './acceptor.ts';
import { createLocalPorts, REUSES_PORTS } from './local-ports.ts';
import { dialFailed, familyOf, listenOn, socketPath, type Target, targetOf } from './sockets.ts';
import type { Transport } from './transport.ts';
import { createUpgrade, type UpgradeOptions } from './upgrade.ts';

/** Idle time before the kernel sends keep-alive probes; milliseconds. */
const KEEP_ALIVE_DELAY = 15_000;

/** @throws ERR_OPTIONS when `tls` is wanted without a certificate, or a list is empty. */
export const tcpTransport = (options: UpgradeOptions): Transport => {
  const upgrade = createUpgrade(options);
  const ports = createLocalPorts();
  return {
    name: 'tcp',
    handles: (address) => kindOf(address) === 'tcp',
    dial: async (address, { expectedPeer, signal, holePunch }) => {
      const target = targetOf(address, ['tcp']);
      const bound = ports.socketTo(target);
      const socket = await openSocket(target, signal, bound, holePunch === undefined);
      const wire = socketWire(socket, 'tcp');
      const path = socketPath('tcp', socket);
      const role = holePunch === 'listener' ? await roleOn(wire, signal) : 'dialer';
      if (role === 'dialer') return upgrade.asDialer(wire, path, expectedPeer, signal);
      const connection = await upgrade.asListener(wire, path, signal);
      const { remotePeer } = connection;
      if (expectedPeer === undefined || expectedPeer.equals(remotePeer)) return connection;
      await connection.close();
      throw new LeanError('ERR_PEER_ID_MISMATCH', `expected ${expectedPeer}, found ${remotePeer}`);
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
      const listener = await listenOn(server, target, acceptor, REUSES_PORTS);
      const { host, port } = hostOf(listener.address);
      const forget = ports.add({ host, port });
      return {
        ...listener,
        close: () => {
          forget();
          return listener.close();
        },
      };
    },
  };
};

/** Time within which a peer that has also dialled sends its first bytes; milliseconds. */
const FIRST_WORD = 600;

/**
 * Our role on a connection that we made as the listener of a hole punch: if the peer sends nothing, its listener
 * has accepted our dial and waits for us.
 *
 * @throws what reading throws, and the signal's reason.
 */
const roleOn = async (wire: Wire, signal: AbortSignal): Promise<Role> => {
  const deadline = startDeadline(FIRST_WORD, "the peer's first word", signal);
  try {
    const chunk = await wire.read(undefined, deadline.signal);
    if (chunk !== null) wire.unread(chunk);
    return 'listener';
  } catch (error) {
    if (isLeanError(error, 'ERR_TIMEOUT') && !signal.aborted) return 'dialer';
    wire.reset();
    throw error;
  } finally {
    deadline.clear();
  }
};

/**
 * Connects.
 *
 * @param bound what to connect; with `orAny` from any port if its port is not free for this connection.
 * @throws ERR_DIAL; the signal's reason.
 */
const openSocket = async (
  target: Target,
  signal: AbortSignal,
  bound: Socket | undefined,
  orAny: boolean,
): Promise<Socket> => {
  try {
    if (bound !== undefined) return await connectSocket(bound, target, signal);
  } catch (error) {
    const cause = error instanceof Error ? (error.cause as NodeJS.ErrnoException) : undefined;
    if (!orAny) throw error;
    if (cause?.code !== 'EADDRINUSE' && cause?.code !== 'EADDRNOTAVAIL') throw error;
  }
  return connectSocket(new Socket({ allowHalfOpen: true }), target, signal);
};

const connectSocket = (socket: Socket, target: Target, signal: AbortSignal): Promise<Socket> =>
  new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortedBy(signal, 'the dial'));
      return;
    }
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_DELAY);
    const { host, port } = target;
    socket.connect({ host, port, family: familyOf(target) });
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
      reject(abortedBy(signal, 'the dial'));
    };
    // Stays in place: the socket may fail before it is wrapped, or after an abort.
    socket.on('error', onError);
    socket.on('connect', onConnect);
    signal.addEventListener('abort', onAbort);
  });
