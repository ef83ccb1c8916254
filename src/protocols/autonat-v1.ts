/**
 * The server of AutoNAT v1 (libp2p/specs autonat/autonat-v1.md): a peer asks whether it can be dialled; only the host
 * that it connects from is dialled. Our client speaks AutoNAT v2 only.
 */

import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { pause, startDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import { type PeerId, peerIdFromMultihash } from '../identity/peer-id.ts';
import { readMessage, writeMessage } from '../stream/messages.ts';
import type { Stream } from '../stream.ts';
import { addressOrNothing, readFields, writeBytes, writeVarint } from './fields.ts';

export const AUTONAT_V1 = '/libp2p/autonat/1.0.0';

/** The longest request, bytes. */
const MAX_MESSAGE = 8192;
/** The most addresses that are dialled; go-libp2p's value. */
const MAX_ADDRESSES = 16;
/** How long reading the request and writing the answer may take; milliseconds. */
const ASK_TIMEOUT = 15_000;
/** How long all dials together may take; milliseconds. A failure is not answered earlier. */
const DIAL_TIMEOUT = 15_000;

const TYPE = { dial: 0, dialResponse: 1 } as const;
const STATUS = { OK: 0, E_DIAL_ERROR: 100, E_DIAL_REFUSED: 101, E_BAD_REQUEST: 200 } as const;

interface Answer {
  readonly status: keyof typeof STATUS;
  readonly text?: string;
  readonly address?: Multiaddr;
}

/** The server's policy and dialer. */
export interface DialService {
  /** Counts a request of `peer` until `end()` is called; `undefined` when it must be rejected. */
  admit(peer: PeerId): { end(): void } | undefined;
  /** `address`, with the host that `connection` comes from; `undefined` when it cannot or may not be dialled. */
  ownAddress(connection: Connection, address: Multiaddr): Multiaddr | undefined;
  /** Connects to `peer` at one of `addresses`, from a port that is not a listener's. @throws what dialling throws. */
  dial(peer: PeerId, addresses: readonly Multiaddr[], signal: AbortSignal): Promise<Connection>;
}

/** Server: answers one request. @throws ERR_PROTOCOL_VIOLATION, ERR_TIMEOUT; what the stream throws. */
export const handleAutonatV1 = async (
  stream: Stream,
  connection: Connection,
  service: DialService,
): Promise<void> => {
  const deadline = startDeadline(ASK_TIMEOUT + DIAL_TIMEOUT, 'an autonat request');
  const { signal } = deadline;
  const reset = (): void => stream.reset();
  signal.addEventListener('abort', reset, { once: true });
  try {
    const request = decodeDial(await readMessage(stream, MAX_MESSAGE));
    await writeMessage(stream, encodeAnswer(await answer(connection, request, service, signal)));
  } finally {
    signal.removeEventListener('abort', reset);
    deadline.clear();
  }
};

const answer = async (
  connection: Connection,
  { peer, addresses }: DialMessage,
  service: DialService,
  signal: AbortSignal,
): Promise<Answer> => {
  const { remotePeer } = connection;
  if (peer !== undefined && !peer.equals(remotePeer)) {
    return { status: 'E_BAD_REQUEST', text: 'peer id mismatch' };
  }
  if (connection.circuit !== undefined) {
    return { status: 'E_DIAL_REFUSED', text: 'not over a relayed connection' };
  }
  const wanted = new Map<string, Multiaddr>();
  for (const address of addresses.slice(0, MAX_ADDRESSES)) {
    const own = service.ownAddress(connection, address);
    if (own !== undefined) wanted.set(own.toString(), own);
  }
  if (wanted.size === 0) return { status: 'E_DIAL_REFUSED', text: 'no address can be dialled' };
  const admitted = service.admit(remotePeer);
  if (admitted === undefined) return { status: 'E_DIAL_REFUSED', text: 'too many requests' };
  const dialling = startDeadline(DIAL_TIMEOUT, 'the dial', signal);
  try {
    const dialled = await service.dial(remotePeer, [...wanted.values()], dialling.signal);
    await dialled.close();
    return { status: 'OK', address: dialled.remoteAddress };
  } catch {
    // The time that a dial takes, and why it failed, would reveal whether a port is open: the server must not serve as a
    // port scanner.
    await pause(DIAL_TIMEOUT, dialling.signal);
    return { status: 'E_DIAL_ERROR', text: 'the dial failed' };
  } finally {
    dialling.clear();
    admitted.end();
  }
};

interface DialMessage {
  readonly peer: PeerId | undefined;
  readonly addresses: readonly Multiaddr[];
}

const WHAT = 'autonat';

const decodeDial = (bytes: Uint8Array): DialMessage => {
  let type: number | undefined;
  let peer: PeerId | undefined;
  const addresses: Multiaddr[] = [];
  const peerInfo = {
    bytes: {
      1: (id: Uint8Array) => {
        peer = peerIdFromMultihash(id);
      },
      2: (value: Uint8Array) => {
        const address = addresses.length < MAX_ADDRESSES ? addressOrNothing(value) : undefined;
        if (address !== undefined) addresses.push(address);
      },
    },
  };
  readFields(WHAT, bytes, {
    varint: {
      1: (value) => {
        type = value;
      },
    },
    bytes: {
      2: (dial) =>
        readFields(WHAT, dial, { bytes: { 1: (info) => readFields(WHAT, info, peerInfo) } }),
    },
  });
  if (type !== TYPE.dial) {
    throw new LeanError('ERR_PROTOCOL_VIOLATION', "autonat: the peer's message is not a request");
  }
  return { peer, addresses };
};

const encodeAnswer = ({ status, text, address }: Answer): Uint8Array => {
  const response = new BinaryWriter();
  writeVarint(response, 1, STATUS[status]);
  if (text !== undefined) writeBytes(response, 2, Buffer.from(text));
  if (address !== undefined) writeBytes(response, 3, address.bytes);
  const writer = new BinaryWriter();
  writeVarint(writer, 1, TYPE.dialResponse);
  writeBytes(writer, 3, response.finish());
  return writer.finish();
};
