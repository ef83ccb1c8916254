/** Converts js-libp2p's keys to ours, and our peer ids to js-libp2p's. */

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

/** js-libp2p's private key, to sign with. @throws ERR_KEY_MALFORMED. */
export const signingKeyFrom = (key: PrivateKey): SigningKey =>
  signingKeyOf(KEY_TYPES[key.type], key.raw);

/**
 * `peer` as js-libp2p's peer id, with its public key unless that is ECDSA: js-libp2p has its own encoding of ECDSA keys,
 * and no peer ids that contain them.
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

/** The results of `remotePeerOf`, which is slow. A verifier returns the same `PeerId` for all connections of a peer. */
const remotePeers = new WeakMap<PeerId, RemotePeer>();
