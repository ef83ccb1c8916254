/** A node as a relay (libp2p/specs relay/circuit-v2.md): the reservations and circuits that it grants. */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { CircuitLimit, Connection } from '../connection.ts';
import { withDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import type { HostKey } from '../identity/keys.ts';
import { type PeerId, peerIdOf } from '../identity/peer-id.ts';
import { isCircuit, withPeer } from '../multiaddr.ts';
import { CIRCUIT_HOP, type HopService, handleHop } from '../protocols/circuit-hop.ts';
import { type ReservationMessage, sealVoucher } from '../protocols/circuit-messages.ts';
import { openCircuit } from '../protocols/circuit-stop.ts';
import type { Stream } from '../stream.ts';
import { countedHostOf } from './counted-host.ts';
import type { Events } from './events.ts';
import type { Protocols } from './protocols.ts';
import type { RelayLimits } from './relay-limits.ts';

export interface RelayServerOptions {
  readonly hostKey: HostKey;
  readonly limits: RelayLimits;
  /** Where this node can be dialled; with or without `/p2p`. */
  readonly addresses: () => readonly Multiaddr[];
  /** The connections with a peer, the oldest first. */
  readonly connections: (peer: PeerId) => readonly Connection[];
  readonly events: Events;
}

/** A reservation that this relay has granted. */
interface Granted {
  readonly message: ReservationMessage;
  readonly grantedAt: number;
  readonly host: string | undefined;
}

/** A peer that asks again within this time gets the same reservation, as signing a new one is slow; milliseconds. */
const SAME_ANSWER = 60_000;
/** The same as a part of the reservation's time; the shorter of the two applies. */
const SAME_ANSWER_SHARE = 0.1;
/** The most addresses of ours in a reservation. */
const MAX_TOLD_ADDRESSES = 16;

/** Answers the hop protocol from now on. */
export const serveRelay = (protocols: Protocols, options: RelayServerOptions): void => {
  const { hostKey, limits, connections, events } = options;
  const relay = peerIdOf(hostKey.publicKey);
  const limit = limitOf(limits);
  /** The reservations by peer id, the oldest first. */
  const reservations = new Map<string, Granted>();
  /** The number of circuits from and to each peer, from each host, and from each host to each peer. */
  const from = createCounts();
  const to = createCounts();
  const fromHosts = createCounts();
  const fromHostsTo = createCounts();
  let circuits = 0;

  /** Removes reservations that have expired. */
  const dropOld = (): void => {
    const now = Date.now();
    for (const [peer, { message }] of reservations) {
      if (message.expires <= now) reservations.delete(peer);
    }
  };

  const isFull = (host: string | undefined, peer: string): boolean => {
    const others = [...reservations].filter(([id]) => id !== peer);
    if (others.length >= limits.maxReservations) return true;
    if (host === undefined) return false;
    const same = others.filter(([, it]) => it.host === host);
    return same.length >= limits.maxReservationsPerHost;
  };

  const messageFor = (peer: PeerId): ReservationMessage => {
    const expires = Date.now() + limits.reservationTime;
    const direct = options.addresses().filter((address) => !isCircuit(address));
    return {
      expires,
      addresses: direct.slice(0, MAX_TOLD_ADDRESSES).map((address) => withPeer(address, relay)),
      voucher: sealVoucher(hostKey, { relay, peer, expires }),
    };
  };

  const watched = new WeakSet<Connection>();
  /** Ends the reservation of the connection's peer when the last direct connection to it has ended. */
  const watch = (connection: Connection): void => {
    if (watched.has(connection)) return;
    watched.add(connection);
    const { remotePeer, closed } = connection;
    closed.then(() => {
      const other = directOf(connections(remotePeer));
      if (other === undefined) reservations.delete(remotePeer.toString());
      else watch(other);
    });
  };

  const reserve: HopService['reserve'] = (connection) => {
    if (connection.circuit !== undefined) return { status: 'PERMISSION_DENIED' };
    const { remotePeer } = connection;
    const id = remotePeer.toString();
    const known = reservations.get(id);
    const same = Math.min(SAME_ANSWER, SAME_ANSWER_SHARE * limits.reservationTime);
    if (known !== undefined && Date.now() - known.grantedAt < same) {
      return { reservation: known.message, limit };
    }
    dropOld();
    const host = countedHostOf(connection.remoteAddress);
    if (isFull(host, id)) return { status: 'RESERVATION_REFUSED' };
    const message = messageFor(remotePeer);
    reservations.delete(id);
    reservations.set(id, { message, grantedAt: Date.now(), host });
    watch(connection);
    events.emit('relay:grant', { peer: remotePeer, expires: message.expires });
    return { reservation: message, limit };
  };

  const connect: HopService['connect'] = async (connection, target) => {
    const source = connection.remotePeer;
    if (connection.circuit !== undefined || source.equals(target)) {
      return { status: 'PERMISSION_DENIED' };
    }
    dropOld();
    const there = directOf(connections(target));
    if (!reservations.has(target.toString()) || there === undefined) {
      return { status: 'NO_RESERVATION' };
    }
    const [sourceId, targetId] = [source.toString(), target.toString()];
    const host = countedHostOf(connection.remoteAddress);
    const hostToTarget = `${host} ${targetId}`;
    const hostIsFull =
      host !== undefined &&
      (fromHosts.of(host) >= limits.maxCircuitsPerHost ||
        fromHostsTo.of(hostToTarget) >= limits.maxCircuitsPerHostToPeer);
    const full =
      circuits >= limits.maxCircuits ||
      from.of(sourceId) >= limits.maxCircuitsPerPeer ||
      to.of(targetId) >= limits.maxCircuitsPerPeer;
    if (full || hostIsFull) return { status: 'RESOURCE_LIMIT_EXCEEDED' };
    const count = (step: 1 | -1): void => {
      circuits += step;
      from.add(sourceId, step);
      to.add(targetId, step);
      if (host === undefined) return;
      fromHosts.add(host, step);
      fromHostsTo.add(hostToTarget, step);
    };
    count(1);
    let stream: Stream;
    try {
      stream = await openCircuit(there, source, limit);
    } catch {
      count(-1);
      return { status: 'CONNECTION_FAILED' };
    }
    const run = async (other: Stream): Promise<void> => {
      events.emit('relay:circuit', { source, target });
      try {
        await bridge(other, stream, limits);
      } finally {
        count(-1);
      }
    };
    const abandon = (): void => {
      count(-1);
      stream.reset();
    };
    return { circuit: { stream, run, abandon }, limit };
  };

  protocols.handle(CIRCUIT_HOP, (stream, connection) =>
    handleHop(stream, connection, { reserve, connect }),
  );
};

const directOf = (connections: readonly Connection[]): Connection | undefined =>
  connections.find(({ circuit }) => circuit === undefined);

/** The limits as the protocol announces them; `undefined`: none. */
const limitOf = ({ circuitTime, circuitData }: RelayLimits): CircuitLimit | undefined => {
  if (circuitTime === 0 && circuitData === 0) return undefined;
  return {
    ...(circuitTime > 0 && { duration: Math.ceil(circuitTime / 1000) }),
    ...(circuitData > 0 && { data: circuitData }),
  };
};

/** A counter for each key. */
const createCounts = () => {
  const counts = new Map<string, number>();
  return {
    of: (key: string): number => counts.get(key) ?? 0,
    add: (key: string, step: 1 | -1): void => {
      const now = (counts.get(key) ?? 0) + step;
      if (now === 0) counts.delete(key);
      else counts.set(key, now);
    },
  };
};

/** Passes bytes both ways until both sides have ended. @throws ERR_RELAY at a limit; what a stream throws. */
const bridge = async (
  one: Stream,
  other: Stream,
  { circuitTime, circuitData }: RelayLimits,
): Promise<void> => {
  const reset = (): void => {
    one.reset();
    other.reset();
  };
  const most = circuitData === 0 ? Number.POSITIVE_INFINITY : circuitData;
  const both = Promise.all([pass(one, other, most), pass(other, one, most)]);
  try {
    await (circuitTime === 0 ? both : withDeadline(both, circuitTime, 'a circuit', reset));
  } catch (error) {
    reset();
    throw error;
  }
};

const pass = async (source: Stream, target: Stream, most: number): Promise<void> => {
  let passed = 0;
  for (;;) {
    const chunk = await source.read();
    if (chunk === null) break;
    passed += chunk.length;
    if (passed > most) {
      throw new LeanError('ERR_RELAY', `the circuit's limit of ${most} bytes is exceeded`);
    }
    if (!target.write(chunk)) await target.drain();
  }
  target.closeWrite();
};
