/** A node as a client of relays: dials circuits through them, and renews its reservations. */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { aborted, pause } from '../deadline.ts';
import { errorOf, LeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { MAX_TIMEOUT } from '../limit-ranges.ts';
import { isCircuit, kindOf, peerOf } from '../multiaddr.ts';
import { connectThrough, type Reservation, reserve } from '../protocols/circuit-hop.ts';
import { acceptCircuit, CIRCUIT_STOP } from '../protocols/circuit-stop.ts';
import { ping } from '../protocols/ping.ts';
import type { ArrivedCircuit, KeptReservation, Relays } from '../transports/circuit.ts';
import type { Dialing } from './dialing.ts';
import type { Events } from './events.ts';
import type { Protocols, StreamHandler } from './protocols.ts';

/** Time between pings, which keep the connection to a relay and the mapping in a NAT open; milliseconds. */
const KEEP_ALIVE = 10_000;
/** A lost reservation is requested again after this time, which doubles with each failure; milliseconds. */
const FIRST_RETRY = 1_000;
/** The longest of these times; milliseconds. */
const LAST_RETRY = 60_000;
/** The shortest time between renewals, however short the reservation; milliseconds. */
const MIN_RENEWAL = 5_000;
/** The most addresses of a relay that are published in addition to the one that was dialled. */
const MAX_ADDRESSES = 8;

/** A listener at a relay, which has a reservation or asks for one. */
interface Place {
  readonly relay: Multiaddr;
  readonly peer: PeerId;
  readonly onCircuit: (circuit: ArrivedCircuit) => Promise<void>;
}

/**
 * @param closing aborts when the node closes.
 * @param onRelay called with each connection to a relay when it is used for a circuit or a reservation.
 */
export const createRelayClient = (
  dialing: () => Dialing,
  protocols: Protocols,
  events: Events,
  closing: AbortSignal,
  onRelay: (connection: Connection) => void,
): Relays => {
  /** The listeners at relays by the relay's peer id. */
  const places = new Map<string, Place>();

  /** A connection to the relay that does not go through a relay itself. */
  const dialRelay = async (relay: Multiaddr, signal: AbortSignal): Promise<Connection> => {
    let connection = await dialing().dial(relay, { signal });
    if (connection.circuit !== undefined) {
      connection = await dialing().dial(relay, { signal, force: true });
    }
    onRelay(connection);
    return connection;
  };

  const handleStop: StreamHandler = async (stream, connection) => {
    const place = places.get(connection.remotePeer.toString());
    // Only a relay with a reservation of ours may open circuits to us.
    const expected = place !== undefined && connection.circuit === undefined;
    const request = await acceptCircuit(stream, () => (expected ? 'OK' : 'PERMISSION_DENIED'));
    if (place !== undefined && request !== undefined) {
      await place.onCircuit({ ...request, stream, connection, relay: place.relay });
    }
  };

  const ends = new WeakMap<Connection, AbortSignal>();
  /** A signal that aborts when `connection` has ended: one for all renewals over it. */
  const endOf = (connection: Connection): AbortSignal => {
    const known = ends.get(connection);
    if (known !== undefined) return known;
    const end = new AbortController();
    connection.closed.then(() => end.abort());
    ends.set(connection, end.signal);
    return end.signal;
  };

  const enter = (id: string, place: Place): void => {
    if (places.has(id)) {
      throw new LeanError('ERR_LISTEN', `there is a listener at the relay ${place.peer} already`);
    }
    if (places.size === 0) protocols.handle(CIRCUIT_STOP, handleStop);
    places.set(id, place);
  };
  const leave = (id: string): void => {
    places.delete(id);
    if (places.size === 0) protocols.unhandle(CIRCUIT_STOP);
  };

  return {
    connect: async (relay, peer, signal) => {
      const connection = await dialRelay(relay, signal);
      return { ...(await connectThrough(connection, peer, { signal })), connection, relay };
    },

    listen: async (relay, onCircuit) => {
      const peer = peerOf(relay);
      if (peer === undefined) throw new LeanError('ERR_ADDRESS', `${relay} names no relay`);
      const id = peer.toString();
      enter(id, { relay, peer, onCircuit });
      const stop = new AbortController();
      const onClose = () => stop.abort(closing.reason);
      closing.addEventListener('abort', onClose, { once: true });
      const { signal } = stop;
      let current: Reservation | undefined;

      const ask = async (): Promise<Connection> => {
        const connection = await dialRelay(relay, signal);
        current = await reserve(connection, { signal });
        const { expires, limit } = current;
        events.emit('relay:reserve', { relay: peer, expires, limit });
        return connection;
      };
      const end = (): void => {
        current = undefined;
        closing.removeEventListener('abort', onClose);
        leave(id);
      };

      let connection: Connection;
      try {
        connection = await ask();
      } catch (error) {
        end();
        throw error;
      }
      /** Renews it until `stop` fires. Never rejects. */
      const keep = async (): Promise<void> => {
        let retry = FIRST_RETRY;
        while (!signal.aborted) {
          try {
            await renewalTime(connection, endOf(connection), current, signal);
            connection = await ask();
            retry = FIRST_RETRY;
          } catch (error) {
            current = undefined;
            if (signal.aborted) break;
            events.emit('relay:lost', { relay: peer, error: errorOf(error) });
            await pause(retry, signal);
            retry = Math.min(2 * retry, LAST_RETRY);
          }
        }
      };
      const kept = keep();
      const reservation: KeptReservation = {
        addresses: () => (current === undefined ? [] : addressesOf(relay, peer, current)),
        close: async () => {
          stop.abort(new LeanError('ERR_ABORTED', 'the listener was closed'));
          end();
          await kept;
        },
      };
      return reservation;
    },
  };
};

/**
 * Resolves when a reservation should be renewed, or at once if there is none. Pings the relay meanwhile.
 *
 * @throws ERR_CONNECTION_CLOSED when the connection to the relay has ended; the signal's reason.
 */
const renewalTime = async (
  connection: Connection,
  ended: AbortSignal,
  reservation: Reservation | undefined,
  signal: AbortSignal,
): Promise<void> => {
  if (reservation === undefined) return;
  const left = reservation.expires - Date.now();
  const wait = Math.min(Math.max((left * 3) / 4, MIN_RENEWAL), MAX_TIMEOUT);
  const until = performance.now() + wait;
  const either = AbortSignal.any([signal, ended]);
  for (;;) {
    const rest = until - performance.now();
    if (rest <= 0) return;
    await pause(Math.min(rest, KEEP_ALIVE), either);
    if (signal.aborted) throw aborted('the reservation', signal.reason);
    if (ended.aborted) {
      throw new LeanError('ERR_CONNECTION_CLOSED', 'the connection to the relay has ended');
    }
    try {
      await ping(connection, { signal });
    } catch (error) {
      connection.close();
      throw error;
    }
  }
};

/** The address at which we dialled the relay, and others that it sent. */
const addressesOf = (relay: Multiaddr, peer: PeerId, { addresses }: Reservation): Multiaddr[] => {
  const others = addresses.filter((address) => {
    const isOne = kindOf(address) !== undefined && !isCircuit(address) && !address.equals(relay);
    return isOne && peerOf(address)?.equals(peer);
  });
  return [relay, ...others.slice(0, MAX_ADDRESSES)];
};
