/** Connections over TCP (libp2p/specs connections/README.md): `/ip4|ip6|dns|dns4|dns6/…/tcp/N`. */

import { createServer, Socket } from 'node:net';
import { abortedBy } from '../deadline.ts';
import { familyOf, hostOf, kindOf } from '../multiaddr.ts';
import { socketWire } from '../wire/socket-wire.ts';
import { createAcceptor } from './acceptor.ts';
import { createLocalPorts, REUSES_PORTS } from './local-ports.ts';
import { createSilentPeers, detectRole } from './simultaneous-open.ts';
import { dialFailed, listenOn, socketPath, type Target, targetOf } from './sockets.ts';
import type { Transport } from './transport.ts';
import { createUpgrade, type DecideSide, type UpgradeOptions } from './upgrade.ts';

/** Idle time before the kernel sends keep-alive probes; milliseconds. */
const KEEP_ALIVE_DELAY = 15_000;

/** @throws ERR_OPTIONS when `tls` is wanted without a certificate, or a list is empty. */
export const tcpTransport = (options: UpgradeOptions): Transport => {
  const upgrade = createUpgrade(options);
  const ports = createLocalPorts();
  const silent = createSilentPeers();
  return {
    name: 'tcp',
    handles: (address) => kindOf(address) === 'tcp',
    dial: async (address, { expectedPeer: expected, signal, holePunch }) => {
      const target = targetOf(address, ['tcp']);
      const bound = ports.socketTo(target);
      let socket: Socket;
      try {
        socket = await openSocket(target, signal, bound, holePunch === undefined);
      } catch (error) {
        // The peer's own dial has already connected the two ports.
        if (holePunch === 'dialer' && isTaken(error)) silent.becomeDialer(target, expected);
        throw error;
      }
      const wire = socketWire(socket, 'tcp');
      const path = socketPath('tcp', socket);
      if (holePunch !== 'listener') return upgrade.asDialer(wire, path, expected, signal);
      const decide: DecideSide = async () => ({
        role: await detectRole(wire, signal),
        expected,
      });
      return upgrade.asEither(wire, path, decide, signal);
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
        if (!REUSES_PORTS) arrival.upgrade((signal) => upgrade.asListener(wire, path, signal));
        else {
          const decide = silent.add(wire, socket);
          arrival.upgrade((signal) => upgrade.asEither(wire, path, decide, signal));
        }
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

/**
 * Opens a socket to `target`.
 *
 * @param bound the socket to connect, bound to a listener's port; `undefined`: a new one, from any port.
 * @param orAny whether to try again from any port if there is a connection between the two ports already.
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
    if (!orAny || !isTaken(error)) throw error;
  }
  return connectSocket(new Socket({ allowHalfOpen: true }), target, signal);
};

/** Whether a dial failed because there is a connection between the two ports already. */
const isTaken = (error: unknown): boolean => {
  const cause = error instanceof Error ? (error.cause as NodeJS.ErrnoException) : undefined;
  return cause?.code === 'EADDRINUSE' || cause?.code === 'EADDRNOTAVAIL';
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
    // Never removed: the socket may fail before it is wrapped, or after an abort.
    socket.on('error', onError);
    socket.on('connect', onConnect);
    signal.addEventListener('abort', onAbort);
  });
