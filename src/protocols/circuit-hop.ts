/**
 * Circuit relay v2's hop protocol (libp2p/specs relay/circuit-v2.md): what peers ask of a relay. RESERVE: to be
 * reachable through it. CONNECT: to be connected to such a peer; the stream itself then becomes the circuit.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { CircuitLimit, Connection } from '../connection.ts';
import { withDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { finish } from '../stream/finish.ts';
import { readMessage, writeMessage } from '../stream/messages.ts';
import type { Stream } from '../stream.ts';
import {
  badVoucher,
  type CircuitMessage,
  decodeHop,
  encodeHop,
  HOP_TYPE,
  MAX_CIRCUIT_MESSAGE,
  openVoucher,
  type ReservationMessage,
  STATUS,
  type StatusName,
  statusName,
  type Voucher,
} from './circuit-messages.ts';

export const CIRCUIT_HOP = '/libp2p/circuit/relay/0.2.0/hop';

/** How long the relay's answer, or the client's request, may take; milliseconds. go-libp2p's value is 60,000. */
const TIMEOUT = 30_000;

export interface HopOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A reservation at a relay, valid while the connection to it is open. */
export interface Reservation {
  /** Milliseconds since 1970, by the relay's clock. */
  readonly expires: number;
  /** The relay's addresses according to the relay, with `/p2p/<relay>`; not checked. */
  readonly addresses: readonly Multiaddr[];
  /** Its limits for each connection that it relays to us. */
  readonly limit: CircuitLimit | undefined;
  /** Issued by the relay, to us: that was verified. Not every relay sends one. */
  readonly voucher: Voucher | undefined;
}

/**
 * Client: asks the relay of `connection` for a reservation, or to renew it.
 *
 * @throws ERR_RELAY when it refuses; ERR_PROTOCOL_VIOLATION for a malformed answer, an expired reservation, or a
 * voucher that is not the relay's or not ours; ERR_PROTOCOL_NOT_SUPPORTED when the peer is not a relay; ERR_TIMEOUT,
 * ERR_ABORTED; what the stream throws.
 */
export const reserve = async (
  connection: Connection,
  { signal }: HopOptions = {},
): Promise<Reservation> => {
  const stream = await connection.newStream(CIRCUIT_HOP, { signal });
  try {
    const { reservation, limit } = await ask(stream, { type: HOP_TYPE.reserve }, signal);
    if (reservation === undefined) throw violation('the answer contains no reservation');
    if (reservation.expires <= Date.now()) throw violation('the reservation has expired already');
    const { voucher, ...rest } = reservation;
    finish(stream);
    return {
      ...rest,
      limit,
      voucher: voucher === undefined ? undefined : checkVoucher(voucher, connection),
    };
  } catch (error) {
    stream.reset();
    throw error;
  }
};

const checkVoucher = (envelope: Uint8Array, connection: Connection): Voucher => {
  const voucher = openVoucher(envelope);
  const { localPeer, remotePeer } = connection;
  if (!voucher.relay.equals(remotePeer)) {
    throw badVoucher(`it names the relay ${voucher.relay}, not ${remotePeer}`);
  }
  if (!voucher.peer.equals(localPeer)) throw badVoucher(`it was issued to ${voucher.peer}`);
  if (voucher.expires <= Date.now()) throw badVoucher('it has expired');
  return voucher;
};

/**
 * Client: asks the relay of `connection` to connect us to `peer`.
 *
 * @returns a stream that leads to that peer.
 * @throws ERR_RELAY when the relay refuses, with its status in the message; else as {@link reserve}.
 */
export const connectThrough = async (
  connection: Connection,
  peer: PeerId,
  { signal }: HopOptions = {},
): Promise<{ readonly stream: Stream; readonly limit: CircuitLimit | undefined }> => {
  const stream = await connection.newStream(CIRCUIT_HOP, { signal });
  try {
    const { limit } = await ask(stream, { type: HOP_TYPE.connect, peer }, signal);
    return { stream, limit };
  } catch (error) {
    stream.reset();
    throw error;
  }
};

/** Sends a request and reads the answer. @returns the answer, whose status is OK. */
const ask = async (
  stream: Stream,
  request: CircuitMessage,
  signal: AbortSignal | undefined,
): Promise<CircuitMessage> => {
  const exchange = async (): Promise<CircuitMessage> => {
    await writeMessage(stream, encodeHop(request));
    return decodeHop(await readMessage(stream, MAX_CIRCUIT_MESSAGE));
  };
  const what = "the relay's answer";
  const answer = await withDeadline(exchange(), TIMEOUT, what, () => stream.reset(), signal);
  if (answer.type !== HOP_TYPE.status) throw violation('the answer is not a status message');
  if (answer.status === STATUS.OK) return answer;
  const wanted = request.peer === undefined ? 'a reservation' : `a connection to ${request.peer}`;
  throw new LeanError('ERR_RELAY', `the relay refused ${wanted}: ${statusName(answer.status)}`);
};

/** What a relay does for its clients. */
export interface HopService {
  /** A reservation for the peer of `connection`, or the status with which it is refused. */
  reserve(connection: Connection): HopAnswer<{ readonly reservation: ReservationMessage }>;
  /** A circuit to `peer`, which has accepted it, or the status with which it is refused. Never rejects. */
  connect(
    connection: Connection,
    peer: PeerId,
  ): Promise<HopAnswer<{ readonly circuit: GrantedCircuit }>>;
}

export type HopAnswer<T> =
  | (T & { readonly limit: CircuitLimit | undefined })
  | { readonly status: StatusName };

export interface GrantedCircuit {
  /** The stream to the destination. */
  readonly stream: Stream;
  /** Passes bytes between `source` and `stream` until both have ended. */
  run(source: Stream): Promise<void>;
  /** Ends the circuit; called instead of `run()`. */
  abandon(): void;
}

/**
 * Relay: answers one request, a malformed one with an error status. Resolves when the request is answered or, if it
 * asked for a circuit, when that has ended.
 *
 * @throws ERR_TIMEOUT; what the stream throws; what `GrantedCircuit.run` throws.
 */
export const handleHop = async (
  stream: Stream,
  connection: Connection,
  service: HopService,
): Promise<void> => {
  const reset = () => stream.reset();
  const say = (answer: Omit<CircuitMessage, 'type'>): Promise<void> => {
    const message = encodeHop({ type: HOP_TYPE.status, ...answer });
    return withDeadline(writeMessage(stream, message), TIMEOUT, 'answering', reset);
  };
  let request: CircuitMessage;
  try {
    const read = readMessage(stream, MAX_CIRCUIT_MESSAGE);
    request = decodeHop(await withDeadline(read, TIMEOUT, 'the request to a relay', reset));
  } catch {
    return say({ status: STATUS.MALFORMED_MESSAGE });
  }
  if (request.type === HOP_TYPE.reserve) {
    const answer = service.reserve(connection);
    if ('status' in answer) return say({ status: STATUS[answer.status] });
    return say({ ...answer, status: STATUS.OK });
  }
  if (request.type !== HOP_TYPE.connect) return say({ status: STATUS.UNEXPECTED_MESSAGE });
  if (request.peer === undefined) return say({ status: STATUS.MALFORMED_MESSAGE });
  const answer = await service.connect(connection, request.peer);
  if ('status' in answer) return say({ status: STATUS[answer.status] });
  const { circuit, limit } = answer;
  try {
    await say({ status: STATUS.OK, limit });
  } catch (error) {
    circuit.abandon();
    throw error;
  }
  return circuit.run(stream);
};

const violation = (what: string): LeanError =>
  new LeanError('ERR_PROTOCOL_VIOLATION', `relay: ${what}`);
