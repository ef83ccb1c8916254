/** Connections over TCP (libp2p/specs connections/README.md): `/ip4|ip6|dns|dns4|dns6/…/tcp/N`. */

import { connect, createServer, type Socket } from 'node:net';
import { abortedBy } from '../deadline.ts';
import { kindOf } from '../multiaddr.ts';
import { socketWire } from '../wire/socket-wire.ts';
import { createAcceptor } from './acceptor.ts';
import { dialFailed, familyOf, listenOn, socketPath, type Target, targetOf } from './sockets.ts';
import type { Transport } from './transport.ts';
import { createUpgrade, type UpgradeOptions } from './upgrade.ts';

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

/** Connects. @throws ERR_DIAL; the signal's reason. */
const openSocket = (target: Target, signal: AbortSignal): Promise<Socket> =>
  new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortedBy(signal, 'the dial'));
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
      reject(abortedBy(signal, 'the dial'));
    };
    // Stays in place: the socket may fail before it is wrapped, or after an abort.
    socket.on('error', onError);
    socket.on('connect', onConnect);
    signal.addEventListener('abort', onAbort);
  });
