/**
 * AutoNAT v2 (libp2p/specs autonat/autonat-v2.md): a client learns whether one of its addresses can be reached:
 * a server dials it there, and returns a nonce on a stream of the new connection.
 */

import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { startDeadline, withDeadline } from '../deadline.ts';
import { defer } from '../deferred.ts';
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

/** Milliseconds for a request and its answer, and for what happens on a dial-back stream; go-libp2p's values. */
const REQUEST_TIMEOUT = 15_000;
const DIAL_BACK_TIMEOUT = 5_000;
/** Bytes that a server may ask for before it dials another host than the one that asked. */
const DIAL_DATA = { least: 30_000, most: 100_000 };
/** The fewest bytes of dial data in a message, except the last: tiny messages cost us more than the client. */
const LEAST_DATA = 100;
/** The longest random delay before such a dial, so that many servers do not dial a victim at once, milliseconds. */
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
 * Client: asks the peer of `connection` to dial one of `addresses`, the most important first.
 *
 * @param dialBacks answers the peer's dial-back streams.
 * @returns `undefined` when the peer dials none of them.
 * @throws ERR_AUTONAT when the peer is too busy, or claims a dial that did not come; ERR_PROTOCOL_VIOLATION,
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
      throw new LeanError('ERR_AUTONAT', `the server did not check it: status ${response.status}`);
    }
    const address = addresses[response.addressIndex];
    if (address === undefined) throw violation('it answers for an address that was not asked for');
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

/** The response, after the dial data that the server wants to have before it. */
const answerOf = async (
  stream: Stream,
  count: number,
): Promise<Required<Pick<AutonatMessage, 'response'>>> => {
  const read = async () => decodeAutonat(await readMessage(stream, MAX_AUTONAT_MESSAGE));
  let answer = await read();
  const { dataRequest } = answer;
  if (dataRequest !== undefined) {
    if (dataRequest.addressIndex >= count || dataRequest.bytes > DIAL_DATA.most) {
      throw violation(`it asks for ${dataRequest.bytes} bytes of data`);
    }
    for (const message of encodeDialData(dataRequest.bytes)) await writeMessage(stream, message);
    answer = await read();
  }
  if (answer.response === undefined) throw violation('it answered with something else');
  return { response: answer.response };
};

/** Whether an address is reachable. Only the nonce proves that it is, not the server's response. */
const judge = async (
  status: number,
  address: Multiaddr,
  arrived: Promise<Multiaddr>,
): Promise<boolean> => {
  if (status === DIAL_STATUS.E_DIAL_ERROR) return false;
  if (status !== DIAL_STATUS.OK && status !== DIAL_STATUS.E_DIAL_BACK_ERROR) {
    throw violation(`dial status ${status}`);
  }
  const local = await withDeadline(arrived, DIAL_BACK_TIMEOUT, 'the dial-back').catch(() => {
    throw new LeanError('ERR_AUTONAT', 'the server claims a dial that did not arrive');
  });
  if (protocolsOf(local) === protocolsOf(address)) return true;
  throw new LeanError('ERR_AUTONAT', `the server dialled ${local}, and claims ${address}`);
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
  /** One more. `arrived`: the local address of the connection that the nonce came on. */
  expect(): {
    readonly nonce: bigint;
    readonly arrived: Promise<Multiaddr>;
    /** Stops waiting for it. */
    end(): void;
  };
  /** Client: takes a nonce. @throws ERR_PROTOCOL_VIOLATION for one that nobody waits for; ERR_TIMEOUT. */
  handle(stream: Stream, connection: Connection): Promise<void>;
}

export const createDialBacks = (): DialBacks => {
  const expected = new Map<bigint, (local: Multiaddr) => void>();
  return {
    expect: () => {
      const nonce = randomBytes(8).readBigUInt64LE();
      const { promise, resolve } = defer<Multiaddr>();
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
  /** Counts a request of `peer`, until `end()`; `undefined` when it has to be rejected. */
  admit(peer: PeerId): { end(): void } | undefined;
  /** Whether `address` can and may be dialled. */
  mayDial(address: Multiaddr): boolean;
  /** Whether `address` is of the host that `connection` comes from. */
  isOwn(connection: Connection, address: Multiaddr): boolean;
  /** Counts a dial of another host; false when there were too many. */
  admitOther(): boolean;
  /** Connects to `peer` there, from a port that is no listener's. @throws what dialling throws. */
  dial(peer: PeerId, address: Multiaddr, signal: AbortSignal): Promise<Connection>;
}

/**
 * Server: answers one request.
 *
 * @throws ERR_PROTOCOL_VIOLATION for what is no request, or too little dial data; ERR_TIMEOUT; what the stream
 * throws.
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
    if (request === undefined) throw violation('its first message is no request');
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

/** Makes the client send data before another host is dialled, so that the server does not amplify attacks. */
const takeDialData = async (stream: Stream, addressIndex: number): Promise<void> => {
  const bytes = randomInt(DIAL_DATA.least, DIAL_DATA.most);
  await writeMessage(stream, encodeDataRequest({ addressIndex, bytes }));
  for (let left = bytes; left > 0; ) {
    const { dialData } = decodeAutonat(await readMessage(stream, MAX_AUTONAT_MESSAGE));
    if (dialData === undefined) throw violation('it sent something else than dial data');
    left -= dialData;
    if (dialData < LEAST_DATA && left > 0) throw violation('it sends dial data by the byte');
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
    // go-libp2p's client resets the stream when it has the nonce, over QUIC before its answer has left.
    return isLeanError(error, 'ERR_STREAM_RESET') ? 'OK' : 'E_DIAL_BACK_ERROR';
  } finally {
    await connection.close();
  }
};

const violation = (what: string): LeanError =>
  new LeanError('ERR_PROTOCOL_VIOLATION', `autonat: ${what}`);
