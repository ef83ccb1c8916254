/**
 * The server of AutoNAT v1 (libp2p/specs autonat/autonat-v1.md): a peer asks whether it can be dialled, and only
 * the host that it asks from is dialled. As a client we use AutoNAT v2.
 */

import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { startDeadline } from '../deadline.ts';
import { isLeanError, LeanError, messageOf } from '../errors.ts';
import { type PeerId, peerIdFromMultihash } from '../identity/peer-id.ts';
import { readMessage, writeMessage } from '../stream/messages.ts';
import type { Stream } from '../stream.ts';
import { addressOrNothing, readFields, writeBytes, writeVarint } from './fields.ts';

export const AUTONAT_V1 = '/libp2p/autonat/1.0.0';

const MAX_MESSAGE = 8192;
/** Addresses that are dialled; go-libp2p's value. */
const MAX_ADDRESSES = 16;
/** Milliseconds for the request, and for all dials together. A failure is answered only after the latter. */
const ASK_TIMEOUT = 15_000;
const DIAL_TIMEOUT = 15_000;

const TYPE = { dial: 0, dialResponse: 1 } as const;
const STATUS = { OK: 0, E_DIAL_ERROR: 100, E_DIAL_REFUSED: 101, E_BAD_REQUEST: 200 } as const;

interface Answer {
  readonly status: keyof typeof STATUS;
  readonly text?: string;
  readonly address?: Multiaddr;
}

export interface DialService {
  /** Counts a request of `peer`, until `end()`; `undefined` when it has to be rejected. */
  admit(peer: PeerId): { end(): void } | undefined;
  /** `address`, with the host that `connection` comes from; `undefined` when it cannot or may not be dialled. */
  ownAddress(connection: Connection, address: Multiaddr): Multiaddr | undefined;
  /** Connects to `peer` at one of them, from a port that is no listener's. @throws what dialling throws. */
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
  } catch (error) {
    // How long a dial takes would tell whether a port is open: this must not serve as a port scanner.
    await fired(dialling.signal);
    return { status: 'E_DIAL_ERROR', text: isLeanError(error) ? error.code : messageOf(error) };
  } finally {
    dialling.clear();
    admitted.end();
  }
};

const fired = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });

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
    throw new LeanError('ERR_PROTOCOL_VIOLATION', 'autonat: its message is no request');
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
