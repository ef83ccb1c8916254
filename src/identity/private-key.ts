/** Private host keys of all four types, as other implementations store them. */

import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { LeanError, messageOf } from '../errors.ts';
import { SEED_LENGTH } from './ed25519.ts';
import { hostKeyFromSeed, type KeyType, publicKeyOf, type SigningKey } from './keys.ts';
import { secp256k1Point, signSecp256k1 } from './secp256k1.ts';

/**
 * The key of a `PrivateKey` message's `Type` and `Data` (libp2p/specs peer-ids/peer-ids.md, section Key
 * Types).
 *
 * @param data Ed25519: the seed and the public key, 64 bytes. Secp256k1: 32 bytes. RSA: PKCS #1, DER.
 * ECDSA: an ECPrivateKey on P-256, P-384 or P-521 (RFC 5915), DER.
 * @throws ERR_KEY_MALFORMED
 */
export const signingKeyOf = (type: KeyType, data: Uint8Array): SigningKey => {
  try {
    return make[type](data);
  } catch (cause) {
    // Only the message of the cause, so that no part of a private key gets into a log.
    throw new LeanError(
      'ERR_KEY_MALFORMED',
      `malformed private key of type ${type}: ${messageOf(cause)}`,
    );
  }
};

const make: Record<KeyType, (data: Uint8Array) => SigningKey> = {
  Ed25519: (data) => {
    if (data.length !== 2 * SEED_LENGTH) throw new Error(`${data.length} bytes, not 64`);
    const key = hostKeyFromSeed(data.subarray(0, SEED_LENGTH));
    if (Buffer.compare(key.publicKey.data, data.subarray(SEED_LENGTH)) !== 0) {
      throw new Error('its public key belongs to another private key');
    }
    return key;
  },
  Secp256k1: (data) => {
    const secret = Uint8Array.from(data);
    return {
      publicKey: publicKeyOf('Secp256k1', secp256k1Point(secret)),
      sign: (message) => signSecp256k1(secret, message),
    };
  },
  RSA: (data) => native('RSA', importDer(data, 'pkcs1')),
  ECDSA: (data) => native('ECDSA', importDer(data, 'sec1')),
};

const importDer = (data: Uint8Array, type: 'pkcs1' | 'sec1'): KeyObject =>
  createPrivateKey({ key: Buffer.from(data), format: 'der', type });

/** Signs with SHA-256: RSASSA-PKCS1-v1_5, or ECDSA with a DER signature. */
const native = (type: 'RSA' | 'ECDSA', key: KeyObject): SigningKey => ({
  publicKey: publicKeyOf(type, createPublicKey(key).export({ format: 'der', type: 'spki' })),
  sign: (message) => new Uint8Array(sign('sha256', message, key)),
});
