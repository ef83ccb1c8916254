/** Relayed connections that a direct one has replaced: each is closed when its streams have ended. */

import type { Connection } from '../connection.ts';
import type { DirectConnections } from './direct-connections.ts';
import type { Events } from './events.ts';

/** A replaced connection is closed when it has had no stream for this time; milliseconds. */
const RETIRE_AFTER = 2_000;
/** How often that is checked; milliseconds. */
const RETIRE_CHECK = 500;

export interface ReplacedConnections {
  /** A relayed connection is open. */
  opened(relayed: Connection): void;
  /** `direct` leads to the same peer as `relayed`. */
  replace(relayed: Connection, direct: Connection): void;
}

export const createReplacedConnections = (
  direct: DirectConnections,
  events: Events,
): ReplacedConnections => {
  const replaced = new WeakSet<Connection>();
  const openedAt = new WeakMap<Connection, number>();

  /** Closes `relayed` once it has been without streams for a while. */
  const retire = (relayed: Connection): void => {
    let idleSince = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      const needed = direct.to(relayed.remotePeer) === undefined || relayed.memory.streams > 0;
      if (needed) idleSince = now;
      else if (now - idleSince >= RETIRE_AFTER) relayed.close();
    }, RETIRE_CHECK);
    timer.unref();
    relayed.closed.then(() => clearInterval(timer));
  };

  return {
    opened: (relayed) => {
      openedAt.set(relayed, performance.now());
    },

    replace: (relayed, connection) => {
      if (replaced.has(relayed)) return;
      replaced.add(relayed);
      const afterMs = performance.now() - (openedAt.get(relayed) ?? performance.now());
      events.emit('connection:direct', { connection, relayed, afterMs });
      retire(relayed);
    },
  };
};
