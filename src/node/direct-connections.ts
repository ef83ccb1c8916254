/** The connections to peers that no relay carries, and those who wait for one. */

import type { Connection } from '../connection.ts';
import type { PeerId } from '../identity/peer-id.ts';
import type { Connections } from './connections.ts';

export interface DirectConnections {
  /** The direct connection to `peer`, if there is one. */
  to(peer: PeerId): Connection | undefined;
  /** Resolves when there is one to `peer`. @throws the reason of `signal`. */
  until(peer: PeerId, signal: AbortSignal): Promise<Connection>;
  /** A direct connection is open. */
  opened(connection: Connection): void;
}

export const createDirectConnections = (connections: Connections): DirectConnections => {
  /** Who waits, by peer id. */
  const waiting = new Map<string, Set<(direct: Connection) => void>>();

  const to = (peer: PeerId): Connection | undefined =>
    connections.list(peer).find(({ circuit }) => circuit === undefined);

  return {
    to,

    until: (peer, signal) =>
      new Promise((resolve, reject) => {
        const there = to(peer);
        if (there !== undefined) return resolve(there);
        const id = peer.toString();
        const group = waiting.get(id) ?? new Set();
        const settle = (): void => {
          signal.removeEventListener('abort', onAbort);
          group.delete(found);
          if (group.size === 0 && waiting.get(id) === group) waiting.delete(id);
        };
        const found = (direct: Connection): void => {
          settle();
          resolve(direct);
        };
        const onAbort = (): void => {
          settle();
          reject(signal.reason);
        };
        signal.addEventListener('abort', onAbort, { once: true });
        if (signal.aborted) return onAbort();
        waiting.set(id, group.add(found));
      }),

    opened: (connection) => {
      for (const found of [...(waiting.get(connection.remotePeer.toString()) ?? [])]) {
        found(connection);
      }
    },
  };
};
