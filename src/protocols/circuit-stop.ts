/**
 * Circuit relay v2's stop protocol (libp2p/specs relay/circuit-v2.md): a relay opens a stream to the peer that
 * holds a reservation; it becomes the second half of a circuit.
 */

import type { CircuitLimit, Connection } from '../connection.ts';
import { withDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { readMessage, writeMessage } from '../stream/messages.ts';
import type { Stream } from '../stream.ts';
import {
  decodeStop,
  encodeStop,
  MAX_CIRCUIT_MESSAGE,
  STATUS,
  STOP_TYPE,
  type StatusName,
  statusName,
} from './circuit-messages.ts';

export const CIRCUIT_STOP = '/libp2p/circuit/relay/0.2.0/stop';

/** How long each side's message may take; milliseconds. */
const TIMEOUT = 15_000;

/**
 * Relay: asks the peer of `connection` to accept a circuit from `source`.
 *
 * @throws ERR_RELAY when it refuses; ERR_PROTOCOL_VIOLATION, ERR_PROTOCOL_NOT_SUPPORTED, ERR_TIMEOUT; what the
 * stream throws.
 */
export const openCircuit = async (
  connection: Connection,
  source: PeerId,
  limit: CircuitLimit | undefined,
): Promise<Stream> => {
  const stream = await connection.newStream(CIRCUIT_STOP, { timeout: TIMEOUT });
  const reset = () => stream.reset();
  const exchange = async (): Promise<void> => {
    await writeMessage(stream, encodeStop({ type: STOP_TYPE.connect, peer: source, limit }));
    const { type, status } = decodeStop(await readMessage(stream, MAX_CIRCUIT_MESSAGE));
    if (type !== STOP_TYPE.status) {
      throw new LeanError('ERR_PROTOCOL_VIOLATION', 'relay: the answer is not a status message');
    }
    if (status !== STATUS.OK) {
      throw new LeanError('ERR_RELAY', `the peer refused the circuit: ${statusName(status)}`);
    }
  };
  try {
    await withDeadline(exchange(), TIMEOUT, 'the answer to a circuit', reset);
    return stream;
  } catch (error) {
    reset();
    throw error;
  }
};

export interface CircuitRequest {
  /** The peer that wants to be connected, according to the relay. */
  readonly source: PeerId;
  /** The relay's limits for the circuit. */
  readonly limit: CircuitLimit | undefined;
}

/**
 * Peer behind a relay: reads a request and answers with the status that `decide` returns.
 *
 * @returns the request if it was accepted: the stream is then the circuit. `undefined` if it was refused or malformed,
 * after the relay was sent the status.
 * @throws ERR_TIMEOUT; what the stream throws.
 */
export const acceptCircuit = async (
  stream: Stream,
  decide: (request: CircuitRequest) => StatusName,
): Promise<CircuitRequest | undefined> => {
  const reset = () => stream.reset();
  const say = (status: StatusName): Promise<void> => {
    const message = encodeStop({ type: STOP_TYPE.status, status: STATUS[status] });
    return withDeadline(writeMessage(stream, message), TIMEOUT, 'answering a relay', reset);
  };
  let request: CircuitRequest;
  try {
    const read = readMessage(stream, MAX_CIRCUIT_MESSAGE);
    const message = await withDeadline(read, TIMEOUT, "a relay's request", reset);
    const { type, peer, limit } = decodeStop(message);
    if (type !== STOP_TYPE.connect || peer === undefined) {
      await say('UNEXPECTED_MESSAGE');
      return undefined;
    }
    request = { source: peer, limit };
  } catch {
    await say('MALFORMED_MESSAGE');
    return undefined;
  }
  const status = decide(request);
  await say(status);
  return status === 'OK' ? request : undefined;
};
