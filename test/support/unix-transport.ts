/**
 * A transport as a user may write one: over Unix domain sockets, at addresses that have neither host nor port
 * (`/memory/<number>`).
 */

import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import path from 'node:path';
import type { Multiaddr } from '@multiformats/multiaddr';
import { parseMultiaddr } from '../../src/multiaddr.ts';
import type { TransportFactory } from '../../src/transports/transport.ts';
import { createUpgrade, type Path } from '../../src/transports/upgrade.ts';
import { socketWire } from '../../src/wire/socket-wire.ts';

const ACCEPTED = parseMultiaddr('/memory/0');
const HANDSHAKE_TIMEOUT = 10_000;

/** @param folder where the sockets are. */
export const unix =
  (folder: string): TransportFactory =>
  ({ hostKey }) => {
    const upgrade = createUpgrade({ hostKey, secureChannels: ['noise'], muxers: ['yamux'] });
    const fileOf = (address: Multiaddr): string =>
      path.join(folder, `${address.getComponents()[0]?.value}.sock`);
    const pathOf = (local: Multiaddr, remote: Multiaddr): Path => ({
      transport: 'unix',
      localAddress: () => local,
      remoteAddress: () => remote,
      watchIdle: () => {},
    });
    return {
      name: 'unix',
      handles: (address) => /^\/memory\/\d+(\/p2p\/\w+)?$/.test(address.toString()),
      dial: async (address, { expectedPeer, signal }) => {
        const socket = connect({ path: fileOf(address), allowHalfOpen: true });
        await once(socket, 'connect', { signal });
        const wire = socketWire(socket, 'unix');
        return upgrade.asDialer(wire, pathOf(ACCEPTED, address), expectedPeer, signal);
      },
      listen: async (address, { onConnection, onRefused }) => {
        const sockets = new Set<Socket>();
        const server = createServer({ allowHalfOpen: true }, (socket) => {
          sockets.add(socket);
          socket.once('close', () => sockets.delete(socket));
          const wire = socketWire(socket, 'unix');
          const signal = AbortSignal.timeout(HANDSHAKE_TIMEOUT);
          upgrade
            .asListener(wire, pathOf(address, ACCEPTED), signal)
            .then(onConnection, (error) => onRefused(error, ACCEPTED.toString()));
        });
        server.listen(fileOf(address));
        await once(server, 'listening');
        return {
          address,
          close: async () => {
            server.close();
            for (const socket of sockets) socket.destroy();
          },
        };
      },
    };
  };
