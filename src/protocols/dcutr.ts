/**
 * DCUtR (libp2p/specs relay/DCUtR.md): over a relayed connection two peers exchange the addresses at which they can
 * be dialled, and synchronise their dials. The peer that accepted the relayed connection initiates.
 */

import { setImmediate as turn } from 'node:timers/promises';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { withDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import { finish } from '../stream/finish.ts';
import { readMessage, writeMessage } from '../stream/messages.ts';
import type { Stream } from '../stream.ts';
import { addressOrNothing, readFields, writeBytes, writeVarint } from './fields.ts';

export const DCUTR = '/libp2p/dcutr';

/** The longest message, bytes. */
const MAX_MESSAGE = 4096;
/** The most addresses in a message; further ones are left out. */
const MAX_ADDRESSES = 32;
/** How long one exchange may take; milliseconds. go-libp2p's value is 60,000. */
const TIMEOUT = 10_000;

/** `HolePunch.Type`. */
const CONNECT = 100;
const SYNC = 300;

export interface HolePunchMessage {
  /** 100: CONNECT, 300: SYNC. */
  readonly type: number | undefined;
  readonly addresses: readonly Multiaddr[];
}

/** Encodes the protobuf message `HolePunch`, with as many of the addresses as it has room for. */
export const encodeHolePunch = ({ type, addresses }: HolePunchMessage): Uint8Array => {
  const writer = new BinaryWriter();
  writeVarint(writer, 1, type ?? 0);
  let left = MAX_MESSAGE - 16;
  for (const { bytes } of addresses.slice(0, MAX_ADDRESSES)) {
    left -= bytes.length + 3;
    if (left < 0) break;
    writeBytes(writer, 2, bytes);
  }
  return writer.finish();
};

/** Decodes the protobuf message `HolePunch`. Addresses that we cannot parse are left out. @throws ERR_PROTOCOL_VIOLATION. */
const decodeHolePunch = (message: Uint8Array): HolePunchMessage => {
  let type: number | undefined;
  const addresses: Multiaddr[] = [];
  readFields('dcutr', message, {
    varint: {
      1: (value) => {
        type = value;
      },
    },
    bytes: {
      2: (value) => {
        const address = addresses.length < MAX_ADDRESSES ? addressOrNothing(value) : undefined;
        if (address !== undefined) addresses.push(address);
      },
    },
  });
  return { type, addresses };
};

export interface DcutrOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called when the peer has answered; resolves with whether to send it SYNC, upon which it dials. */
  readonly ready?: () => Promise<boolean>;
}

/** The result of the exchange. */
export interface Agreement {
  /** The addresses that the peer sent. Not checked: they may belong to anybody. */
  readonly addresses: readonly Multiaddr[];
  /** The round-trip time of the relayed connection, milliseconds. */
  readonly rtt: number;
}

/**
 * Initiator: exchanges addresses. The peer dials when our last message arrives, half a round trip after this resolves.
 *
 * @param connection the relayed connection.
 * @param addresses ours.
 * @returns `undefined` if `ready` resolved with false.
 * @throws ERR_PROTOCOL_NOT_SUPPORTED, ERR_PROTOCOL_VIOLATION, ERR_MESSAGE_TOO_LONG, ERR_EOF, ERR_TIMEOUT,
 * ERR_ABORTED; what the stream throws.
 */
export const initiateDcutr = async (
  connection: Connection,
  addresses: readonly Multiaddr[],
  { signal, ready }: DcutrOptions = {},
): Promise<Agreement | undefined> => {
  const stream = await connection.newStream(DCUTR, { signal, timeout: TIMEOUT });
  const reset = () => stream.reset();
  const exchange = async (): Promise<Agreement | undefined> => {
    const start = performance.now();
    await writeMessage(stream, encodeHolePunch({ type: CONNECT, addresses }));
    const answer = await expectMessage(stream, CONNECT);
    const rtt = performance.now() - start;
    if ((await ready?.()) === false) {
      reset();
      return undefined;
    }
    await writeMessage(stream, encodeHolePunch({ type: SYNC, addresses: [] }));
    return { addresses: answer.addresses, rtt };
  };
  try {
    const agreement = await withDeadline(exchange(), TIMEOUT, 'dcutr', reset, signal);
    if (agreement !== undefined) finish(stream);
    return agreement;
  } catch (error) {
    reset();
    throw error;
  }
};

/**
 * The other side: answers with our addresses. The caller must dial as soon as this resolves.
 *
 * @param prepare called with the peer's addresses when our answer has been sent, a round trip before they are dialled.
 * @throws as {@link initiateDcutr}; what `prepare` throws.
 */
export const handleDcutr = async (
  stream: Stream,
  addresses: readonly Multiaddr[],
  prepare?: (said: Agreement['addresses']) => void,
): Promise<Agreement> => {
  const exchange = async (): Promise<Agreement> => {
    const request = await expectMessage(stream, CONNECT);
    const start = performance.now();
    await writeMessage(stream, encodeHolePunch({ type: CONNECT, addresses }));
    // Muxers send at the end of this turn of the event loop.
    await turn();
    prepare?.(request.addresses);
    await expectMessage(stream, SYNC);
    return { addresses: request.addresses, rtt: performance.now() - start };
  };
  return withDeadline(exchange(), TIMEOUT, 'dcutr', () => stream.reset());
};

const expectMessage = async (stream: Stream, type: number): Promise<HolePunchMessage> => {
  const message = decodeHolePunch(await readMessage(stream, MAX_MESSAGE));
  if (message.type === type) return message;
  throw new LeanError(
    'ERR_PROTOCOL_VIOLATION',
    `dcutr: the peer sent message type ${message.type}, not ${type}`,
  );
};
