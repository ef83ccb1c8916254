/**
 * Dials from the port of a TCP listener, so that a NAT maps both to the same external port.
 *
 * Linux lets a socket be bound to a port that another one listens on if both have SO_REUSEPORT. Node.js sets it
 * on listeners (`reusePort`) and, from 24.19 and 26.4 on, on sockets that are to dial (`net.BoundSocket`);
 * `net.connect({ localPort })` does not, and fails with EADDRINUSE. Elsewhere dials leave from any port.
 */

import net, { type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { canReach, isLoopback, plainHost, type SocketAddress } from '../socket-address.ts';

/** `undefined` before Node.js 24.19, in 25, and before 26.4. */
const { BoundSocket } = net as { BoundSocket?: typeof net.BoundSocket };

/** Whether listeners are bound so that dials can leave from their port. */
export const REUSES_PORTS = process.platform === 'linux' && BoundSocket !== undefined;

/** The ports of a transport's listeners. */
export interface LocalPorts {
  /** A listener is bound. @returns a function to call when it closes. */
  add(address: SocketAddress): () => void;
  /** A new socket that is bound to a listener's port, to be connected to `remote`; `undefined` if that is not possible. */
  socketTo(remote: SocketAddress): Socket | undefined;
}

export const createLocalPorts = (): LocalPorts => {
  const listeners = new Set<SocketAddress>();
  return {
    add: (address) => {
      listeners.add(address);
      return () => void listeners.delete(address);
    },
    socketTo: (remote) => {
      if (!REUSES_PORTS || BoundSocket === undefined) return undefined;
      const local = [...listeners].find((it) => canReach(it, remote) && !isSelf(it, remote));
      if (local === undefined) return undefined;
      try {
        const handle = new BoundSocket({ ...local, reusePort: true });
        return new net.Socket({ handle, allowHalfOpen: true });
      } catch {
        return undefined; // The kernel refused; the dial then leaves from any port.
      }
    },
  };
};

/** A socket must not be connected to its own address. */
const isSelf = (local: SocketAddress, { host, port }: SocketAddress): boolean => {
  if (local.port !== port) return false;
  const here = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return isLoopback(plainHost(host)) || here.some(({ address }) => address === plainHost(host));
};
