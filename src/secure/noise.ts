/**
 * The handshake of the Noise secure channel (libp2p/specs noise/README.md): every Noise message is preceded
 * by its length, two bytes, big-endian. noise-wire.ts has the transport messages that follow.
 */

import { LeanError } from '../errors.ts';
import type { HostKey } from '../identity/keys.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { readExactly } from '../stream/bytes.ts';
import type { Stream } from '../stream.ts';
import type { Wire } from '../wire/wire.ts';
import { encodePayload, verifyPayload } from './noise-payload.ts';
import {
  generateNoiseKeyPair,
  type Handshake,
  MAX_MESSAGE,
  type NoiseKeyPair,
  startHandshake,
} from './noise-state.ts';
import { noiseWire } from './noise-wire.ts';
import type { SecureChannel, SecureOptions } from './secure-channel.ts';

/** The protocol's name in multistream-select. */
export const NOISE = '/noise';

const EMPTY = new Uint8Array(0);

/** What this side uses in every handshake. */
export interface NoiseIdentity {
  readonly staticKey: NoiseKeyPair;
  /** The encoded `NoiseHandshakePayload`. */
  readonly payload: Uint8Array;
}

/**
 * Makes a static key, signed by the host key, once for many connections. The specification allows that, and it saves an
 * X25519 and an Ed25519 operation in each handshake.
 *
 * @param muxers protocol names of the muxers that we support, best first; empty: no early muxer negotiation.
 */
export const createNoiseIdentity = (hostKey: HostKey, muxers: readonly string[]): NoiseIdentity => {
  const staticKey = generateNoiseKeyPair();
  const identity = { staticKey, payload: encodePayload(hostKey, staticKey.publicKey, muxers) };
  warmUp(identity);
  return identity;
};

/**
 * Makes a handshake with ourselves. OpenSSL takes milliseconds to look up an algorithm for the first time; the first
 * connection's handshake should not take longer for it.
 */
const warmUp = ({ staticKey, payload }: NoiseIdentity): void => {
  const dialer = startHandshake({ initiator: true, staticKey });
  const listener = startHandshake({ initiator: false, staticKey });
  listener.read(dialer.write(EMPTY));
  verifyPayload(dialer.read(listener.write(payload)), dialer.remoteStatic);
  listener.read(dialer.write(payload));
  dialer.finish().send.seal(EMPTY, [payload]);
};

/**
 * Performs the handshake.
 *
 * @param stream what the handshake is read from and written to: `wire`, or a stream on it.
 * @param wire the whole connection, which the channel closes at its end.
 * @throws ERR_HANDSHAKE, ERR_PEER_ID_MISMATCH, ERR_KEY_MALFORMED, ERR_KEY_TYPE; ERR_EOF when the
 * peer closed the connection; ERR_PROTOCOL_NOT_SUPPORTED when it named muxers and we support none of them; what the
 * stream throws.
 */
export const secureWithNoise = async (
  stream: Stream,
  wire: Wire,
  identity: NoiseIdentity,
  options: SecureOptions,
): Promise<SecureChannel> => {
  const isDialer = options.role === 'dialer';
  const handshake = startHandshake({ initiator: isDialer, staticKey: identity.staticKey });
  let payload: Uint8Array;
  if (isDialer) {
    sendMessage(stream, handshake.write(EMPTY));
    payload = handshake.read(await readMessage(stream));
  } else {
    handshake.read(await readMessage(stream));
    sendMessage(stream, handshake.write(identity.payload));
    payload = handshake.read(await readMessage(stream));
  }
  const { peer, muxers } = verify(handshake, payload, options.expectedPeer);
  const muxer = isDialer
    ? chooseMuxer(options.muxers, muxers)
    : chooseMuxer(muxers, options.muxers);
  if (isDialer) sendMessage(stream, handshake.write(identity.payload));
  const { send, receive } = handshake.finish();
  return { wire: noiseWire(stream, wire, send, receive), remotePeer: peer, muxer };
};

const verify = (handshake: Handshake, payload: Uint8Array, expected: PeerId | undefined) => {
  const verified = verifyPayload(payload, handshake.remoteStatic);
  if (expected !== undefined && !expected.equals(verified.peer)) {
    throw new LeanError(
      'ERR_PEER_ID_MISMATCH',
      `expected peer ${expected}, found ${verified.peer}`,
    );
  }
  return verified;
};

/**
 * The first of the dialer's muxers that both support (libp2p/specs connections/inlined-muxer-negotiation.md);
 * `undefined` if a side has named none.
 *
 * @throws ERR_PROTOCOL_NOT_SUPPORTED when they have none in common.
 */
const chooseMuxer = (
  dialers: readonly string[] | undefined,
  listeners: readonly string[] | undefined,
): string | undefined => {
  if (dialers === undefined || listeners === undefined) return undefined;
  const muxer = dialers.find((name) => listeners.includes(name));
  if (muxer !== undefined) return muxer;
  throw new LeanError(
    'ERR_PROTOCOL_NOT_SUPPORTED',
    `no common muxer: the dialer speaks ${dialers.join(', ')}, the listener ${listeners.join(', ')}`,
  );
};

const sendMessage = (stream: Stream, message: Uint8Array): void => {
  if (message.length > MAX_MESSAGE) throw new LeanError('ERR_HANDSHAKE', 'noise: message too long');
  const frame = new Uint8Array(2 + message.length);
  frame[0] = message.length >>> 8;
  frame[1] = message.length;
  frame.set(message, 2);
  stream.write(frame);
};

const readMessage = async (stream: Stream): Promise<Uint8Array> => {
  const prefix = await readExactly(stream, 2);
  const length = ((prefix[0] as number) << 8) | (prefix[1] as number);
  if (length === 0) throw new LeanError('ERR_HANDSHAKE', 'noise: empty handshake message');
  return readExactly(stream, length);
};
