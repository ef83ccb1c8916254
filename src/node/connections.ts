/** The connections of a node: their list, limits and end. */

import type { Connection, TransportConnection } from '../connection.ts';
import { CONN_RESOURCE_LIMIT_EXCEEDED } from '../connection-memory.ts';
import { pause } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { nodeConnection } from './connection.ts';
import { countedHostOf } from './counted-host.ts';
import type { Events } from './events.ts';
import type { ConnectionLimits } from './limits.ts';
import { MEMORY_IS_SHORT, memoryGauge } from './memory-pressure.ts';
import type { Metrics } from './metrics.ts';
import type { Protocols } from './protocols.ts';

/** How long relayed connections may take to close before the connections to their relays are closed; milliseconds. */
const RELAYED_CLOSE = 300;

export interface Connections {
  /** Adds a connection that we dialled and serves its streams. */
  add(transport: TransportConnection): Connection;
  /** Adds a connection that a listener accepted and serves its streams, or closes it if a limit is reached. */
  accept(transport: TransportConnection): void;
  /** The open connections, the oldest first: all of them, or those with `peer`. */
  list(peer?: PeerId): Connection[];
  /** The oldest open connection with `peer`; one through a relay only if there is no other. */
  find(peer: PeerId): Connection | undefined;
  /** Closes all connections, and from now on every new one. Never rejects. */
  close(): Promise<void>;
}

interface Entry {
  readonly connection: Connection;
  /** Its key in `open`: the peer id. */
  readonly peer: string;
  /** The host that it is counted for, if it was accepted: `countedHostOf` its remote address. */
  readonly host: string | undefined;
}

export const createConnections = (
  limits: ConnectionLimits,
  events: Events,
  protocols: Protocols,
  /** Called with each connection when it has been added. */
  onOpen: (connection: Connection) => void,
  metrics?: Metrics,
): Connections => {
  /** The open connections by peer id, without those that our side is closing. */
  const open = new Map<string, Set<Connection>>();
  /** All connections that have not ended, including those that our side is closing. */
  const entries = new Set<Entry>();
  /** How many of them listeners accepted. */
  let accepted = 0;
  /** The same by host. */
  const hosts = new Map<string, number>();
  const shortMemory = memoryGauge(limits.maxMemoryPercent);
  let closing = false;

  const count = ({ connection, host }: Entry, step: 1 | -1): void => {
    if (connection.role === 'dialer') return;
    accepted += step;
    if (host === undefined) return;
    const now = (hosts.get(host) ?? 0) + step;
    if (now === 0) hosts.delete(host);
    else hosts.set(host, now);
  };

  const forget = ({ peer, connection }: Entry): void => {
    const group = open.get(peer);
    group?.delete(connection);
    if (group?.size === 0) open.delete(peer);
  };

  const adopt = (transport: TransportConnection, host?: string): Connection => {
    const peer = transport.remotePeer.toString();
    const connection = nodeConnection(transport, () => forget(entry), metrics);
    const entry: Entry = { connection, peer, host };
    entries.add(entry);
    count(entry, 1);
    const group = open.get(peer) ?? new Set();
    open.set(peer, group.add(connection));
    transport.closed.then((reason) => {
      forget(entry);
      entries.delete(entry);
      count(entry, -1);
      events.emit('connection:close', { connection, reason });
    });
    events.emit('connection:open', { connection });
    onOpen(connection);
    protocols.serve(transport, connection).catch(() => connection.close());
    if (closing) connection.close();
    return connection;
  };

  /** Why an accepted connection must be refused; `undefined` if it need not be. */
  const refusal = (
    transport: TransportConnection,
    host: string | undefined,
  ): string | undefined => {
    if (accepted >= limits.maxConnections) return 'too many connections (maxConnections)';
    if (host !== undefined && (hosts.get(host) ?? 0) >= limits.maxConnectionsPerHost) {
      return 'too many connections of this host (maxConnectionsPerHost)';
    }
    const ofPeer = open.get(transport.remotePeer.toString())?.size ?? 0;
    if (ofPeer >= limits.maxConnectionsPerPeer) {
      return 'too many connections of this peer (maxConnectionsPerPeer)';
    }
    const short = shortMemory();
    return short === undefined ? undefined : `${MEMORY_IS_SHORT}: ${short} (maxMemoryPercent)`;
  };

  return {
    add: (transport) => adopt(transport),

    accept: (transport) => {
      const host = countedHostOf(transport.remoteAddress);
      const why = refusal(transport, host);
      if (why === undefined) {
        adopt(transport, host);
        return;
      }
      transport.close(CONN_RESOURCE_LIMIT_EXCEEDED, why);
      const error = new LeanError('ERR_CONNECTION_CLOSED', why);
      events.emit('connection:refuse', { error, remote: transport.remoteAddress.toString() });
    },

    list: (peer) =>
      peer === undefined
        ? [...open.values()].flatMap((group) => [...group])
        : [...(open.get(peer.toString()) ?? [])],

    find: (peer) => {
      const [oldest, ...others] = open.get(peer.toString()) ?? [];
      if (oldest?.circuit === undefined) return oldest;
      return others.find(({ circuit }) => circuit === undefined) ?? oldest;
    },

    close: async () => {
      closing = true;
      const all = [...entries].map(({ connection }) => connection);
      // Relayed ones first: to notify their peers they need the connections to the relays.
      const relayed = all.filter(({ circuit }) => circuit !== undefined);
      const ended = Promise.all(relayed.map((connection) => connection.close()));
      if (relayed.length > 0) await Promise.race([ended, pause(RELAYED_CLOSE)]);
      await Promise.all(all.map((connection) => connection.close()));
    },
  };
};
