/** The network condition of one attempt: what is between its two sides, and how they find each other across it. */
import { createHash } from 'node:crypto';
import type { Condition } from '../network/conditions.ts';
import { noTcpPath, openTcpPath } from '../network/tcp-path.ts';
import { type RelayStats, startUdpRelay, type UdpRelay } from '../network/udp-relay.ts';
import { type Cell, carrierOf } from './cells.ts';
import { MatrixError } from './error.ts';
import { addressKey } from './participant.ts';
import type { LocalRedis } from './redis.ts';
import type { NetworkRecord, Role } from './results.ts';

export interface NetworkPath {
  /** The command that runs a participant's command on the path. */
  wrap(role: Role, command: readonly string[]): readonly string[];
  /** What changes in the environment: where listeners bind, and a key for the dialer of each connection. */
  readonly listenerIp: string | undefined;
  keyOf(role: Role, connection: number): string;
  /** What happened on it. */
  record(): Promise<NetworkRecord>;
  close(): Promise<void>;
}

/** The seed: the same for every cell, so that all meet the same losses, and another for each attempt. */
export const seedOf = (seed: number, condition: string, attempt: number): number =>
  createHash('sha256').update(`${seed} ${condition} ${attempt}`).digest().readUInt32BE();

/** Why cells under conditions over `carrier` cannot run here, or `false`. */
export const noPath = (cell: Cell): string | false =>
  cell.condition !== null && carrierOf(cell.transport) === 'tcp' && noTcpPath();

/** The multiaddr with the host and the UDP port of the relay in place of the listener's. */
const throughRelay = (multiaddr: string, relay: UdpRelay): string =>
  multiaddr.replace(
    /^\/ip4\/[\d.]+\/udp\/\d+/,
    `/ip4/${relay.address.host}/udp/${relay.address.port}`,
  );

const targetOf = (multiaddr: string): { readonly host: string; readonly port: number } => {
  const [, host, port] = /^\/ip4\/([\d.]+)\/udp\/(\d+)\//.exec(multiaddr) ?? [];
  if (host === undefined) throw new MatrixError(`no relay can be put before ${multiaddr}`);
  return { host, port: Number(port) };
};

const IP_AND_UDP = 28;

/**
 * Puts `condition` between the sides of an attempt. The listener publishes its address under `testKey`;
 * the dialer finds it, or the relay's, under a key of its own.
 */
export const openNetworkPath = async (options: {
  readonly cell: Cell;
  readonly condition: Condition;
  readonly seed: number;
  readonly testKey: string;
  readonly redis: LocalRedis;
}): Promise<NetworkPath> => {
  const { cell, condition, seed, testKey, redis } = options;
  const tcp =
    carrierOf(cell.transport) === 'tcp'
      ? await openTcpPath(condition, seed, redis.port)
      : undefined;
  let relay = tcp?.relay;
  let closed = false;
  const keyOf = (role: Role, connection: number): string =>
    role === 'listener' ? testKey : `${testKey}d${connection}`;
  const listenerKey = addressKey('unified', testKey);
  const introduce = async (): Promise<void> => {
    let { multiaddr } = await redis.whenPublished(listenerKey);
    if (closed) return;
    if (tcp === undefined) {
      const target = targetOf(multiaddr);
      relay = await startUdpRelay({ target, condition, seed, overhead: IP_AND_UDP });
      if (closed) return await relay.close();
      multiaddr = throughRelay(multiaddr, relay);
    }
    for (let connection = 1; connection <= condition.connections; connection++) {
      await redis.publish(addressKey('unified', keyOf('dialer', connection)), multiaddr);
    }
  };
  let broken: unknown;
  introduce().catch((error: unknown) => {
    broken = error;
  });
  return {
    wrap: (role, command) => tcp?.wrap(role, command) ?? command,
    listenerIp: tcp?.listenerIp,
    keyOf,
    record: async () => {
      if (broken !== undefined) throw broken;
      const stats: RelayStats | undefined = await relay?.stats();
      return { seed, ...stats };
    },
    close: async () => {
      closed = true;
      await relay?.close();
    },
  };
};
