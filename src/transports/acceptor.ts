/** What a listener over TCP or WebSocket does with a socket: admits or refuses it, upgrades it, closes it. */

import type { Socket } from 'node:net';
import { createAdmission, tooMany } from '../admission.ts';
import type { TransportConnection } from '../connection.ts';
import { LeanError } from '../errors.ts';
import type { TransportListenOptions } from './transport.ts';
import type { UpgradeLimits } from './upgrade-limits.ts';

export interface Acceptor {
  /** Admits a new socket. @returns `undefined` if a limit is reached: the socket is then destroyed and reported. */
  arrived(socket: Socket): Arrival | undefined;
  /** Closes every connection and aborts the upgrades. Never rejects. */
  close(): Promise<void>;
}

/** A socket that has not become a connection yet. */
export interface Arrival {
  /** Closes it and reports why, as an eviction does; has no effect once it is a connection. */
  refuse(why: LeanError): void;
  /** Upgrades it and hands the connection up, or reports why that failed. Must be called once. */
  upgrade(start: (signal: AbortSignal) => Promise<TransportConnection>): void;
}

export const createAcceptor = (
  limits: UpgradeLimits,
  { onConnection, onRefused, pendingPool }: TransportListenOptions,
): Acceptor => {
  const admission = createAdmission(limits, pendingPool);
  const connections = new Set<TransportConnection>();
  /** For each socket that has not become a connection, the function that refuses it. */
  const arrivals = new Set<(why: LeanError) => void>();
  const upgrades = new Set<Promise<void>>();
  let closed = false;

  // Callbacks may throw, but nothing that a peer does may end the process.
  const refused = (why: Error, remote: string): void => {
    try {
      onRefused(why, remote);
    } catch {
      // The callback is only for logs.
    }
  };
  const handUp = (connection: TransportConnection): void => {
    try {
      onConnection(connection);
    } catch {
      connection.close();
    }
  };

  return {
    arrived: (socket) => {
      const { remoteAddress = '', remotePort } = socket;
      const remote = `${remoteAddress}:${remotePort}`;
      const arrivedAt = performance.now();
      const stop = new AbortController();
      let upgrading = false;

      const refuse = (why: LeanError): void => {
        arrivals.delete(refuse);
        if (stop.signal.aborted) return;
        stop.abort(why);
        if (upgrading) return; // the upgrade then fails, which is reported and resets the socket
        socket.destroy();
        if (!closed) refused(why, remote);
      };

      const admitted = closed ? undefined : admission.enter(remoteAddress, refuse);
      if (typeof admitted !== 'object') {
        socket.on('error', () => {});
        socket.destroy();
        refused(tooMany(admitted), remote);
        return undefined;
      }
      arrivals.add(refuse);
      socket.once('close', () => {
        arrivals.delete(refuse);
        admitted.leave();
      });

      const run = async (
        start: (signal: AbortSignal) => Promise<TransportConnection>,
      ): Promise<void> => {
        let connection: TransportConnection;
        try {
          connection = await start(stop.signal);
        } catch (error) {
          refused(error instanceof Error ? error : new Error(String(error)), remote);
          return;
        } finally {
          arrivals.delete(refuse);
        }
        connection.handshakeTime = performance.now() - arrivedAt;
        admitted.authenticated();
        connections.add(connection);
        connection.closed.then(() => connections.delete(connection));
        handUp(connection);
      };

      return {
        refuse,
        upgrade: (start) => {
          upgrading = true;
          const done: Promise<void> = run(start).finally(() => upgrades.delete(done));
          upgrades.add(done);
        },
      };
    },

    close: async () => {
      closed = true;
      admission.close();
      const why = new LeanError('ERR_ABORTED', 'the listener was closed');
      for (const refuse of [...arrivals]) refuse(why);
      await Promise.all(upgrades);
      await Promise.all([...connections].map((connection) => connection.close()));
    },
  };
};
