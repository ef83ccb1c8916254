/**
 * Connections through a relay (libp2p/specs relay/circuit-v2.md): `<relay>/p2p/<relay's id>/p2p-circuit`.
 * A stream that a relay has connected to the peer is upgraded like a socket; the relay sees only ciphertext.
 * The node dials the relays and keeps the reservations (`Relays`).
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import { type AdmittedConnection, createAdmission, tooMany } from '../admission.ts';
import type { CircuitLimit, Connection, TransportConnection } from '../connection.ts';
import { LeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import {
  addressError,
  circuitOf,
  ipOf,
  isCircuit,
  peerOf,
  relayOf,
  withPeer,
} from '../multiaddr.ts';
import type { Stream } from '../stream.ts';
import { streamWire } from '../wire/stream-wire.ts';
import type { Wire } from '../wire/wire.ts';
import type { Transport, TransportListener } from './transport.ts';
import type { Path, Upgrade } from './upgrade.ts';

/** A stream through a relay to a peer. */
export interface CircuitStream {
  readonly stream: Stream;
  /** The connection to the relay. */
  readonly connection: Connection;
  /** Where that relay can be dialled, with `/p2p/<relay>`. */
  readonly relay: Multiaddr;
  readonly limit: CircuitLimit | undefined;
}

/** A circuit that another peer has opened to us. */
export interface ArrivedCircuit extends CircuitStream {
  /** That peer, according to the relay. */
  readonly source: PeerId;
}

/** The relays that a node uses. */
export interface Relays {
  /** Opens a circuit to `peer`. @param relay with `/p2p/<relay>`. @throws what dialling it throws, and `connectThrough`. */
  connect(relay: Multiaddr, peer: PeerId, signal: AbortSignal): Promise<CircuitStream>;
  /**
   * Gets a reservation at a relay and keeps renewing it.
   *
   * @param onCircuit called with each circuit to us; resolves when the circuit is over. What it throws is only logged.
   * @throws what dialling the relay throws, and `reserve`.
   */
  listen(
    relay: Multiaddr,
    onCircuit: (circuit: ArrivedCircuit) => Promise<void>,
  ): Promise<KeptReservation>;
}

/** A reservation at a relay, renewed until it is closed. */
export interface KeptReservation {
  /** Where the relay can be dialled, with `/p2p/<relay>`; none while the reservation is lost. */
  addresses(): Multiaddr[];
  /** Never rejects. */
  close(): Promise<void>;
}

export interface CircuitOptions {
  /** Upgrades circuits. Its limits apply to each listener: to what arrives through its relay. */
  readonly upgrade: Upgrade;
  readonly relays: Relays;
}

/** How far a circuit may exceed the limit that the relay announced, bytes: relays check it after forwarding a buffer. */
const LIMIT_SLACK = 64 << 10;

export const circuitTransport = ({ upgrade, relays }: CircuitOptions): Transport => ({
  name: 'p2p-circuit',
  handles: isCircuit,

  dial: async (address, { expectedPeer, signal }) => {
    const relay = relayOf(address);
    if (expectedPeer === undefined) {
      throw addressError(
        address.toString(),
        'the peer to dial is missing: …/p2p-circuit/p2p/<peer>',
      );
    }
    if (peerOf(relay)?.equals(expectedPeer)) {
      throw addressError(address.toString(), 'the peer to dial is the relay itself');
    }
    const circuit = await relays.connect(relay, expectedPeer, signal);
    const { wire, path } = carrierOf(circuit);
    return mark(await upgrade.asDialer(wire, path, expectedPeer, signal), circuit);
  },

  listen: async (address, { onConnection, onRefused }): Promise<TransportListener> => {
    const relay = relayOf(address);
    const admission = createAdmission(upgrade.limits);
    const closing = new AbortController();
    const connections = new Set<TransportConnection>();

    const serve = async (circuit: ArrivedCircuit): Promise<void> => {
      const remote = withPeer(circuitOf(circuit.relay), circuit.source).toString();
      const stop = new AbortController();
      const onClose = () => stop.abort(closing.signal.reason);
      closing.signal.addEventListener('abort', onClose, { once: true });
      let admitted: AdmittedConnection | undefined;
      try {
        // All circuits come from the relay's host. Without an IP address they count as of one host, too.
        const host = ipOf(circuit.connection.remoteAddress) ?? '';
        if (closing.signal.aborted) throw tooMany(undefined);
        const entered = admission.enter(host, (why) => stop.abort(why));
        if (typeof entered === 'string') throw tooMany(entered);
        admitted = entered;
        const { wire, path } = carrierOf(circuit);
        const connection = mark(await upgrade.asListener(wire, path, stop.signal), circuit);
        const { remotePeer } = connection;
        if (!remotePeer.equals(circuit.source)) {
          await connection.close();
          const who = `it announced ${circuit.source}, but ${remotePeer} came`;
          throw new LeanError('ERR_PEER_ID_MISMATCH', `the relay lies: ${who}`);
        }
        admitted.authenticated();
        connections.add(connection);
        onConnection(connection);
        await connection.closed;
        connections.delete(connection);
      } catch (error) {
        onRefused(error instanceof Error ? error : new Error(String(error)), remote);
        throw error;
      } finally {
        closing.signal.removeEventListener('abort', onClose);
        admitted?.leave();
      }
    };

    const reservation = await relays.listen(relay, serve);
    let closed: Promise<void> | undefined;
    const close = async (): Promise<void> => {
      closing.abort(new LeanError('ERR_ABORTED', 'the listener was closed'));
      await Promise.all([...connections].map((connection) => connection.close()));
      await reservation.close();
    };
    return {
      address: circuitOf(relay),
      addresses: () => reservation.addresses().map(circuitOf),
      close: () => {
        closed ??= close();
        return closed;
      },
    };
  },
});

const carrierOf = ({
  stream,
  connection,
  relay,
  limit,
}: CircuitStream): { wire: Wire; path: Path } => {
  let active = performance.now();
  const maxReceived = limit?.data === undefined ? undefined : limit.data + LIMIT_SLACK;
  const wire = streamWire(stream, {
    ...(maxReceived !== undefined && { maxReceived }),
    onActivity: () => {
      active = performance.now();
    },
  });
  const watchIdle = (ms: number, expire: () => void): void => {
    const wait = (left: number) =>
      setTimeout(() => {
        const rest = active + ms - performance.now();
        if (rest > 0) wait(rest);
        else expire();
      }, left).unref();
    wait(ms);
  };
  const path: Path = {
    transport: 'p2p-circuit',
    localAddress: () => connection.localAddress,
    remoteAddress: () => circuitOf(relay),
    watchIdle,
  };
  return { wire, path };
};

/** Adds `circuit` to a connection, which marks it as relayed. */
const mark = (
  transport: TransportConnection,
  { connection, limit }: CircuitStream,
): TransportConnection =>
  Object.defineProperty(transport, 'circuit', {
    value: { relay: connection.remotePeer, limit },
    enumerable: true,
  });
