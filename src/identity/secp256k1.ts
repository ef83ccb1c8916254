/**
 * Signatures of Secp256k1 host keys. They are verified natively where the runtime's `node:crypto` has the curve (Node),
 * else by `@noble/curves` (Bun, whose BoringSSL lacks it). They are made by `@noble/curves`, in constant time: OpenSSL's
 * may have an `s` above half the curve's order, which rust-libp2p refuses.
 */

import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { createRequire } from 'node:module';

/** SubjectPublicKeyInfo up to the 33-byte compressed point, which follows (RFC 5480, SEC 2). */
const SPKI_PREFIX = Buffer.from('3036301006072a8648ce3d020106052b8104000a032200', 'hex');
/** The curve's base point, to test whether the runtime supports the curve. */
const BASE_POINT = Buffer.from(
  '0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798',
  'hex',
);

/** Whether `data` is a point of the curve in the compressed form, 33 bytes. */
export const isSecp256k1Point = (data: Uint8Array): boolean => {
  if (data.length !== 33) return false;
  try {
    if (isNative()) nativeKey(data);
    else noble().Point.fromBytes(data);
    return true;
  } catch {
    return false;
  }
};

/**
 * Whether `signature`, a DER ECDSA signature, is that of SHA-256 of `message` by the point `data`.
 *
 * @throws Error when the point or the signature is malformed.
 */
export const verifySecp256k1 = (
  data: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean =>
  isNative()
    ? verify('sha256', message, nativeKey(data), signature)
    : noble().verify(signature, message, data, { format: 'der', lowS: false });

/**
 * The compressed point of a private key.
 *
 * @throws Error when `secret` is not 32 bytes of a number below the curve's order.
 */
export const secp256k1Point = (secret: Uint8Array): Uint8Array => noble().getPublicKey(secret);

/** The signature of SHA-256 of `message`, DER, its `s` in the lower half. */
export const signSecp256k1 = (secret: Uint8Array, message: Uint8Array): Uint8Array =>
  noble().sign(message, secret, { format: 'der' });

const nativeKey = (data: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([SPKI_PREFIX, data]), format: 'der', type: 'spki' });

let native: boolean | undefined;
const isNative = (): boolean => {
  if (native === undefined) {
    try {
      nativeKey(BASE_POINT);
      native = true;
    } catch {
      native = false;
    }
  }
  return native;
};

/** Loaded on first use, as Node needs it only to sign with keys of this type; synchronously, like verification. */
const noble = (): typeof import('@noble/curves/secp256k1.js')['secp256k1'] => {
  const require = createRequire(import.meta.url);
  const loaded: typeof import('@noble/curves/secp256k1.js') = require('@noble/curves/secp256k1.js');
  return loaded.secp256k1;
};
