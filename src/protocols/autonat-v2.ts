/**
 * AutoNAT v2 (libp2p/specs autonat/autonat-v2.md): a client learns whether one of its addresses can be reached. A
 * server dials that address, and sends back the client's nonce on a stream of the new connection.
 */

import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { startDeadline, withDeadline } from '../deadline.ts';
import { isLeanError, LeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { withoutPeer } from '../multiaddr.ts';
import { finish } from '../stream/finish.ts';
import { readMessage, writeMessage } from '../stream/messages.ts';
import type { Stream } from '../stream.ts';
import {
  type AutonatMessage,
  DIAL_BACK_OK,
  DIAL_STATUS,
  type DialRequest,
  decodeAutonat,
  decodeDialBack,
  encodeDataRequest,
  encodeDialBack,
  encodeDialData,
  encodeDialRequest,
  encodeDialResponse,
  MAX_AUTONAT_MESSAGE,
  MAX_DIAL_BACK_MESSAGE,
  RESPONSE_STATUS,
} from './autonat-messages.ts';

export const AUTONAT_DIAL_REQUEST = '/libp2p/autonat/2/dial-request';
export const AUTONAT_DIAL_BACK = '/libp2p/autonat/2/dial-back';

/** How long a request and its answer may take; milliseconds, go-libp2p's value. */
const REQUEST_TIMEOUT = 15_000;
/** How long the exchange on a dial-back stream may take; milliseconds, go-libp2p's value. */
const DIAL_BACK_TIMEOUT = 5_000;
/** Bytes that a server may ask for before it dials a host other than the client's. */
const DIAL_DATA = { least: 30_000, most: 100_000 };
/** The fewest bytes of dial data in a message, except the last: tiny messages would cost us more than the client. */
const LEAST_DATA = 100;
/** The longest random delay before such a dial, milliseconds: many servers must not dial a victim at the same time. */
const DIAL_WAIT = 3_000;

/** A server's result for one address of the request. */
export interface AddressCheck {
  readonly address: Multiaddr;
  readonly reachable: boolean;
}

export interface CheckOptions {
  readonly signal?: AbortSignal | undefined;
}

/**
 * Client: asks the peer of `connection` to dial one of `addresses`.
 *
 * @param addresses the most important first.
 * @param dialBacks handles the peer's dial-back streams.
 * @returns the result for the address that the peer chose; `undefined` when it refused to dial any of them.
 * @throws ERR_AUTONAT when the peer rejects the request, or claims a dial that did not arrive; ERR_PROTOCOL_VIOLATION,
 * ERR_PROTOCOL_NOT_SUPPORTED, ERR_TIMEOUT, ERR_ABORTED; what the stream throws.
 */
export const checkAddresses = async (
  connection: Connection,
  addresses: readonly Multiaddr[],
  dialBacks: DialBacks,
  { signal }: CheckOptions = {},
): Promise<AddressCheck | undefined> => {
  const opening = { signal, timeout: REQUEST_TIMEOUT };
  const stream = await connection.newStream(AUTONAT_DIAL_REQUEST, opening);
  const dialBack = dialBacks.expect();
  const work = async (): Promise<AddressCheck | undefined> => {
    await writeMessage(stream, encodeDialRequest({ addresses, nonce: dialBack.nonce }));
    const { response } = await answerOf(stream, addresses.length);
    finish(stream);
    if (response.status === RESPONSE_STATUS.E_DIAL_REFUSED) return undefined;
    if (response.status !== RESPONSE_STATUS.OK) {
      throw new LeanError(
        'ERR_AUTONAT',
        `the server checked no address: status ${response.status}`,
      );
    }
    const address = addresses[response.addressIndex];
    if (address === undefined)
      throw violation('the peer answers for an address not in the request');
    return { address, reachable: await judge(response.dialStatus, address, dialBack.arrived) };
  };
  try {
    const reset = (): void => stream.reset();
    return await withDeadline(work(), REQUEST_TIMEOUT, "the server's answer", reset, signal);
  } catch (error) {
    stream.reset();
    throw error;
  } finally {
    dialBack.end();
  }
};

/** Reads the response, after sending dial data if the server asks for it. @param count addresses in the request. */
const answerOf = async (
  stream: Stream,
  count: number,
): Promise<Required<Pick<AutonatMessage, 'response'>>> => {
  const read = async () => decodeAutonat(await readMessage(stream, MAX_AUTONAT_MESSAGE));
  let answer = await read();
  const { dataRequest } = answer;
  if (dataRequest !== undefined) {
    if (dataRequest.addressIndex >= count || dataRequest.bytes > DIAL_DATA.most) {
      throw violation(`the peer asks for ${dataRequest.bytes} bytes of dial data`);
    }
    for (const message of encodeDialData(dataRequest.bytes)) await writeMessage(stream, message);
    answer = await read();
  }
  if (answer.response === undefined)
    throw violation('the peer sent something other than a response');
  return { response: answer.response };
};

/** Whether `address` is reachable. Only the arrival of the nonce proves that it is, not the server's response. */
const judge = async (
  status: number,
  address: Multiaddr,
  arrived: Promise<Multiaddr>,
): Promise<boolean> => {
  if (status === DIAL_STATUS.E_DIAL_ERROR) return false;
  if (status !== DIAL_STATUS.OK && status !== DIAL_STATUS.E_DIAL_BACK_ERROR) {
    throw violation(`the peer sent the unknown dial status ${status}`);
  }
  const local = await withDeadline(arrived, DIAL_BACK_TIMEOUT, 'the dial-back').catch(() => {
    throw new LeanError('ERR_AUTONAT', 'the server claims a dial that did not arrive');
  });
  if (protocolsOf(local) === protocolsOf(address)) return true;
  throw new LeanError(
    'ERR_AUTONAT',
    `the server claims to have dialled ${address}, but dialled ${local}`,
  );
};

/** `ip4/udp/quic-v1`: the part that is the same on both sides of a NAT. */
const protocolsOf = (address: Multiaddr): string => {
  const names = withoutPeer(address)
    .getComponents()
    .map(({ name }) => name);
  return names.join('/');
};

/** The dial-backs that this node waits for. */
export interface DialBacks {
  /** Waits for one more, with a new nonce. */
  expect(): {
    readonly nonce: bigint;
    /** Resolves with the local address of the connection that the nonce arrived on. */
    readonly arrived: Promise<Multiaddr>;
    /** Stops waiting. */
    end(): void;
  };
  /** Client: handles a dial-back stream. @throws ERR_PROTOCOL_VIOLATION for an unknown nonce; ERR_TIMEOUT. */
  handle(stream: Stream, connection: Connection): Promise<void>;
}

export const createDialBacks = (): DialBacks => {
  const expected = new Map<bigint, (local: Multiaddr) => void>();
  return {
    expect: () => {
      const nonce = randomBytes(8).readBigUInt64LE();
      const { promise, resolve } = Promise.withResolvers<Multiaddr>();
      expected.set(nonce, resolve);
      return { nonce, arrived: promise, end: () => void expected.delete(nonce) };
    },
    handle: async (stream, connection) => {
      const reset = (): void => stream.reset();
      const work = async (): Promise<void> => {
        const nonce = decodeDialBack(await readMessage(stream, MAX_DIAL_BACK_MESSAGE));
        const arrived = expected.get(nonce);
        if (arrived === undefined) throw violation('a dial-back that nobody asked for');
        arrived(connection.localAddress);
        await writeMessage(stream, DIAL_BACK_OK);
      };
      await withDeadline(work(), DIAL_BACK_TIMEOUT, 'a dial-back', reset);
    },
  };
};

/** The server's policy and dialer. */
export interface DialBackService {
  /** Counts a request of `peer` until `end()` is called; `undefined` when it must be rejected. */
  admit(peer: PeerId): { end(): void } | undefined;
  /** Whether `address` can and may be dialled. */
  mayDial(address: Multiaddr): boolean;
  /** Whether `address` has the host that `connection` comes from. */
  isOwn(connection: Connection, address: Multiaddr): boolean;
  /** Counts a dial to a host other than the client's; false when there were too many. */
  admitOther(): boolean;
  /** Connects to `peer` at `address`, from a port that is not a listener's. @throws what dialling throws. */
  dial(peer: PeerId, address: Multiaddr, signal: AbortSignal): Promise<Connection>;
}

/**
 * Server: answers one request.
 *
 * @throws ERR_PROTOCOL_VIOLATION when the peer sends something other than a request and dial data, or the data in too
 * small messages; ERR_TIMEOUT; what the stream throws.
 */
export const handleDialRequest = async (
  stream: Stream,
  connection: Connection,
  service: DialBackService,
): Promise<void> => {
  const deadline = startDeadline(REQUEST_TIMEOUT, 'an autonat request');
  const { signal } = deadline;
  const reset = (): void => stream.reset();
  signal.addEventListener('abort', reset, { once: true });
  const admitted = service.admit(connection.remotePeer);
  try {
    if (admitted === undefined) return await respond(stream, RESPONSE_STATUS.E_REQUEST_REJECTED);
    const { request } = decodeAutonat(await readMessage(stream, MAX_AUTONAT_MESSAGE));
    if (request === undefined) throw violation("the peer's first message is not a request");
    await answer(stream, connection, request, service, signal);
  } finally {
    admitted?.end();
    signal.removeEventListener('abort', reset);
    deadline.clear();
  }
};

const answer = async (
  stream: Stream,
  connection: Connection,
  { addresses, nonce }: DialRequest,
  service: DialBackService,
  signal: AbortSignal,
): Promise<void> => {
  const index = addresses.findIndex((it) => it !== undefined && service.mayDial(it));
  const address = addresses[index];
  if (address === undefined) return respond(stream, RESPONSE_STATUS.E_DIAL_REFUSED);
  if (!service.isOwn(connection, address)) {
    if (!service.admitOther()) return respond(stream, RESPONSE_STATUS.E_REQUEST_REJECTED);
    await takeDialData(stream, index);
    await delay(randomInt(DIAL_WAIT + 1), undefined, { signal });
  }
  const status = await dialBack(connection.remotePeer, address, nonce, service, signal);
  return respond(stream, RESPONSE_STATUS.OK, index, DIAL_STATUS[status]);
};

const respond = (stream: Stream, status: number, addressIndex = 0, dialStatus = 0): Promise<void> =>
  writeMessage(stream, encodeDialResponse({ status, addressIndex, dialStatus }));

/** Has the client send data before another host is dialled, so that the server cannot be used to amplify an attack. */
const takeDialData = async (stream: Stream, addressIndex: number): Promise<void> => {
  const bytes = randomInt(DIAL_DATA.least, DIAL_DATA.most);
  await writeMessage(stream, encodeDataRequest({ addressIndex, bytes }));
  for (let left = bytes; left > 0; ) {
    const { dialData } = decodeAutonat(await readMessage(stream, MAX_AUTONAT_MESSAGE));
    if (dialData === undefined) throw violation('the peer sent something other than dial data');
    left -= dialData;
    if (dialData < LEAST_DATA && left > 0) {
      throw violation(`the peer sent a message with only ${dialData} bytes of dial data`);
    }
  }
};

const dialBack = async (
  peer: PeerId,
  address: Multiaddr,
  nonce: bigint,
  service: DialBackService,
  signal: AbortSignal,
): Promise<keyof typeof DIAL_STATUS> => {
  let connection: Connection;
  try {
    connection = await service.dial(peer, address, signal);
  } catch {
    return 'E_DIAL_ERROR';
  }
  try {
    const stream = await connection.newStream(AUTONAT_DIAL_BACK, { signal });
    const tell = async (): Promise<void> => {
      await writeMessage(stream, encodeDialBack(nonce));
      stream.closeWrite();
      await readMessage(stream, MAX_DIAL_BACK_MESSAGE);
    };
    await withDeadline(tell(), DIAL_BACK_TIMEOUT, 'the dial-back', () => stream.reset(), signal);
    return 'OK';
  } catch (error) {
    // go-libp2p's client resets the stream when it has the nonce; over QUIC its answer may then not be sent.
    return isLeanError(error, 'ERR_STREAM_RESET') ? 'OK' : 'E_DIAL_BACK_ERROR';
  } finally {
    await connection.close();
  }
};

const violation = (what: string): LeanError =>
  new LeanError('ERR_PROTOCOL_VIOLATION', `autonat: ${what}`);
