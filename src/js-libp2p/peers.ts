/** Keys and peer ids, from js-libp2p's and into them. */

import { publicKeyFromProtobuf } from '@libp2p/crypto/keys';
import type { PrivateKey, PeerId as RemotePeer } from '@libp2p/interface';
import { peerIdFromMultihash, peerIdFromPublicKey } from '@libp2p/peer-id';
import * as Digest from 'multiformats/hashes/digest';
import type { KeyType, SigningKey } from '../identity/keys.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { signingKeyOf } from '../identity/private-key.ts';

const KEY_TYPES: Record<PrivateKey['type'], KeyType> = {
  Ed25519: 'Ed25519',
  secp256k1: 'Secp256k1',
  RSA: 'RSA',
  ECDSA: 'ECDSA',
};

/** @throws ERR_KEY_MALFORMED */
export const signingKeyFrom = (key: PrivateKey): SigningKey =>
  signingKeyOf(KEY_TYPES[key.type], key.raw);

/**
 * With its public key, but for an ECDSA peer: js-libp2p reads and writes those in a form of its own, and has
 * no peer ids of them.
 */
export const remotePeerOf = (peer: PeerId): RemotePeer => {
  const known = remotePeers.get(peer);
  if (known !== undefined) return known;
  const { multihash, publicKey } = peer;
  const made =
    publicKey === undefined || publicKey.type === 'ECDSA'
      ? peerIdFromMultihash(Digest.decode(multihash))
      : peerIdFromPublicKey(publicKeyFromProtobuf(publicKey.protobuf));
  remotePeers.set(peer, made);
  return made;
};

/** A verifier gives one peer id for all connections of a peer; making one of js-libp2p's is slow. */
const remotePeers = new WeakMap<PeerId, RemotePeer>();
