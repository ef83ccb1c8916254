/** The libp2p payload of Noise handshake messages (libp2p/specs noise/README.md). */

import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { LeanError } from '../errors.ts';
import { type HostKey, parsePublicKey, verifySignature } from '../identity/keys.ts';
import { type PeerId, peerIdOf } from '../identity/peer-id.ts';

/** Field numbers of `NoiseHandshakePayload` and `NoiseExtensions`. */
const IDENTITY_KEY = 1;
const IDENTITY_SIG = 2;
const EXTENSIONS = 4;
const STREAM_MUXERS = 2;

/** The most muxers that a payload may name; go-libp2p's value. */
const MAX_MUXERS = 100;

const SIGNED_PREFIX = Buffer.from('noise-libp2p-static-key:', 'latin1');

/**
 * Encodes the payload: `hostKey`'s signature of the Noise static key, and the muxers that we support.
 *
 * @param staticKey the 32-byte Noise static public key.
 */
export const encodePayload = (
  hostKey: HostKey,
  staticKey: Uint8Array,
  muxers: readonly string[],
): Uint8Array => {
  const writer = new BinaryWriter()
    .tag(IDENTITY_KEY, WireType.LengthDelimited)
    .bytes(hostKey.publicKey.protobuf)
    .tag(IDENTITY_SIG, WireType.LengthDelimited)
    .bytes(hostKey.sign(signedMessage(staticKey)))
    .tag(EXTENSIONS, WireType.LengthDelimited)
    .fork();
  for (const muxer of muxers) writer.tag(STREAM_MUXERS, WireType.LengthDelimited).string(muxer);
  return writer.join().finish();
};

/**
 * Checks the peer's payload against the static key that the handshake has authenticated.
 *
 * @returns the peer, and its muxers, best first, or `undefined` if it names none.
 * @throws ERR_HANDSHAKE when the payload is malformed, or not signed by the key in it;
 * ERR_KEY_MALFORMED, ERR_KEY_TYPE for that key.
 */
export const verifyPayload = (
  payload: Uint8Array,
  staticKey: Uint8Array,
): { peer: PeerId; muxers: readonly string[] | undefined } => {
  const { identityKey, identitySig, muxers } = decode(payload);
  const key = parsePublicKey(identityKey);
  if (!verifySignature(key, signedMessage(staticKey), identitySig)) {
    throw new LeanError('ERR_HANDSHAKE', 'noise: the host key did not sign the static key');
  }
  return { peer: peerIdOf(key), muxers };
};

const signedMessage = (staticKey: Uint8Array): Uint8Array =>
  Buffer.concat([SIGNED_PREFIX, staticKey]);

const decode = (payload: Uint8Array) => {
  let identityKey: Uint8Array = new Uint8Array(0);
  let identitySig: Uint8Array = new Uint8Array(0);
  let muxers: string[] | undefined;
  try {
    const reader = new BinaryReader(payload);
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (type !== WireType.LengthDelimited) reader.skip(type, field);
      else if (field === IDENTITY_KEY) identityKey = reader.bytes();
      else if (field === IDENTITY_SIG) identitySig = reader.bytes();
      else if (field === EXTENSIONS) muxers = decodeExtensions(reader.bytes());
      else reader.skip(type, field);
    }
  } catch (cause) {
    throw new LeanError('ERR_HANDSHAKE', 'noise: malformed handshake payload', { cause });
  }
  return { identityKey, identitySig, muxers };
};

const decodeExtensions = (bytes: Uint8Array): string[] | undefined => {
  const muxers: string[] = [];
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === STREAM_MUXERS && type === WireType.LengthDelimited) {
      if (muxers.length === MAX_MUXERS) throw new Error('too many muxers');
      muxers.push(reader.string());
    } else {
      reader.skip(type, field);
    }
  }
  return muxers.length === 0 ? undefined : muxers;
};
