/**
 * Identify and identify push (libp2p/specs identify/README.md). In identify, the listener of a stream sends its
 * message; in a push, the dialer does. `signedPeerRecord` is neither sent nor read: go, rust and js do not need it.
 */

import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { withDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import { parsePublicKey } from '../identity/keys.ts';
import { type PeerId, peerIdOf } from '../identity/peer-id.ts';
import { encodeVarint, readExactly, readVarint, writeAll } from '../stream/bytes.ts';
import { finish } from '../stream/finish.ts';
import type { Stream } from '../stream.ts';
import { addressOrNothing, readFields, writeBytes } from './fields.ts';

export const IDENTIFY = '/ipfs/id/1.0.0';
/** The same message, sent to connected peers when it has changed. */
export const IDENTIFY_PUSH = '/ipfs/id/push/1.0.0';

/** The identify message of a peer. Every field may be missing. */
export interface IdentifyInfo {
  /** Protobuf encoding of the host key. */
  readonly publicKey: Uint8Array | undefined;
  /** The peer's listen addresses; those that we cannot parse are left out. */
  readonly listenAddrs: readonly Multiaddr[];
  /** The address at which the peer observes us. */
  readonly observedAddr: Multiaddr | undefined;
  /** The protocols that the peer handles. */
  readonly protocols: readonly string[];
  /** `<name>/<version>` of the implementation. */
  readonly agentVersion: string | undefined;
  /** Names a protocol family, such as `ipfs/0.1.0`. */
  readonly protocolVersion: string | undefined;
}

/** The longest message accepted, bytes. This and the three below are go-libp2p's values; go and rust send at most 4 KiB. */
const MAX_MESSAGE = 8 * 1024;
const MAX_MESSAGES = 10;
const MAX_ADDRESSES = 500;
const MAX_PROTOCOLS = 1024;

/** How long the whole exchange may take; milliseconds, go-libp2p's and js-libp2p's value. */
const TIMEOUT = 5_000;

export interface IdentifyOptions {
  /** Ends the exchange. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Asks the peer of `connection` for its identify message.
 *
 * @throws as {@link readIdentify}; ERR_ABORTED; ERR_PROTOCOL_NOT_SUPPORTED.
 */
export const identify = async (
  connection: Connection,
  { signal }: IdentifyOptions = {},
): Promise<IdentifyInfo> => {
  const stream = await connection.newStream(IDENTIFY, { signal });
  return readIdentify(stream, connection.remotePeer, { signal });
};

/**
 * Reads the peer's identify message and closes our side.
 *
 * @param expected the connection's remote peer.
 * @throws ERR_PEER_ID_MISMATCH when the host key is not that of `expected`; ERR_KEY_MALFORMED or
 * ERR_KEY_TYPE; ERR_EOF when the peer sent no message; ERR_MESSAGE_TOO_LONG, ERR_PROTOCOL_VIOLATION;
 * ERR_TIMEOUT; what the stream throws. The stream is then reset.
 */
export const readIdentify = async (
  stream: Stream,
  expected?: PeerId,
  { signal }: IdentifyOptions = {},
): Promise<IdentifyInfo> => {
  try {
    const read = readMessages(stream);
    const message = await withDeadline(read, TIMEOUT, 'identify', () => stream.reset(), signal);
    const info = decodeIdentify(message);
    if (expected !== undefined && info.publicKey !== undefined) {
      const found = peerIdOf(parsePublicKey(info.publicKey));
      if (!found.equals(expected)) {
        throw new LeanError(
          'ERR_PEER_ID_MISMATCH',
          `identify: peer ${expected} sent the host key of ${found}`,
        );
      }
    }
    stream.closeWrite();
    return info;
  } catch (error) {
    stream.reset();
    throw error;
  }
};

/**
 * go-libp2p splits a long answer into several messages. Protobuf messages merge when their encodings
 * are concatenated.
 */
const readMessages = async (stream: Stream): Promise<Uint8Array> => {
  const parts: Uint8Array[] = [];
  for (;;) {
    const length = await readVarint(stream, MAX_MESSAGE);
    if (length === null) break;
    if (parts.length === MAX_MESSAGES) {
      throw new LeanError(
        'ERR_MESSAGE_TOO_LONG',
        `identify: the peer sent more than ${MAX_MESSAGES} messages`,
      );
    }
    parts.push(length === 0 ? new Uint8Array(0) : await readExactly(stream, length));
  }
  const [only] = parts;
  if (only === undefined) {
    throw new LeanError('ERR_EOF', 'identify: the peer closed the stream without an answer');
  }
  return parts.length === 1 ? only : Buffer.concat(parts);
};

/**
 * Sends `info` to the peer and closes our side.
 *
 * @throws ERR_TIMEOUT (the stream is then reset); what the stream throws.
 */
export const handleIdentify = async (stream: Stream, info: IdentifyInfo): Promise<void> => {
  const message = encodeIdentify(info);
  const framed = Buffer.concat([encodeVarint(message.length), message]);
  await withDeadline(writeAll(stream, framed), TIMEOUT, 'identify', () => stream.reset());
  stream.closeWrite();
};

/**
 * Pushes our identify message to the peer of `connection`. There is no acknowledgement.
 *
 * @throws ERR_TIMEOUT, ERR_ABORTED; what the stream throws.
 */
export const pushIdentify = async (
  connection: Connection,
  info: IdentifyInfo,
  { signal }: IdentifyOptions = {},
): Promise<void> => {
  const stream = await connection.newStream(IDENTIFY_PUSH, { signal, timeout: TIMEOUT });
  await handleIdentify(stream, info);
  finish(stream);
};

/** Reads the identify message that a peer pushes. @throws as {@link readIdentify}. */
export const handleIdentifyPush = (stream: Stream, connection: Connection): Promise<IdentifyInfo> =>
  readIdentify(stream, connection.remotePeer);

/** The protobuf message `Identify`, without its length prefix. */
export const encodeIdentify = (info: IdentifyInfo): Uint8Array => {
  const writer = new BinaryWriter();
  const bytes = (field: number, value: Uint8Array | undefined): void => {
    if (value !== undefined) writeBytes(writer, field, value);
  };
  const string = (field: number, value: string | undefined): void =>
    bytes(field, value === undefined ? undefined : Buffer.from(value));
  bytes(1, info.publicKey);
  for (const address of info.listenAddrs) bytes(2, address.bytes);
  for (const protocol of info.protocols) string(3, protocol);
  bytes(4, info.observedAddr?.bytes);
  string(5, info.protocolVersion);
  string(6, info.agentVersion);
  return writer.finish();
};

/** Decodes the protobuf message `Identify`. Unknown fields are skipped. @throws ERR_PROTOCOL_VIOLATION when it is not protobuf. */
export const decodeIdentify = (message: Uint8Array): IdentifyInfo => {
  let publicKey: Uint8Array | undefined;
  let observedAddr: Multiaddr | undefined;
  let agentVersion: string | undefined;
  let protocolVersion: string | undefined;
  const listenAddrs: Multiaddr[] = [];
  const protocols: string[] = [];
  readFields('identify', message, {
    bytes: {
      1: (value) => {
        publicKey = value;
      },
      2: (value) => {
        const address = listenAddrs.length < MAX_ADDRESSES ? addressOrNothing(value) : undefined;
        if (address !== undefined) listenAddrs.push(address);
      },
      3: (value) => {
        if (protocols.length < MAX_PROTOCOLS) protocols.push(decoder.decode(value));
      },
      4: (value) => {
        observedAddr = addressOrNothing(value);
      },
      5: (value) => {
        protocolVersion = decoder.decode(value);
      },
      6: (value) => {
        agentVersion = decoder.decode(value);
      },
    },
  });
  return { publicKey, listenAddrs, observedAddr, protocols, agentVersion, protocolVersion };
};

const decoder = new TextDecoder();
