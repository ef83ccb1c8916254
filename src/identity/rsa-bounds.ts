/** Which RSA keys of peers are accepted, as host keys and in certificates. */

import type { KeyObject } from 'node:crypto';

/** go-libp2p's and ring's bounds, in bits. */
const MIN_BITS = 2048;
const MAX_BITS = 8192;
/**
 * Go's bound. Every key in use has 65,537. With an exponent of as many bits as the modulus, which OpenSSL takes up to 3072
 * bits, the verification of a signature, before anybody is authenticated, takes 30 times as long: 12 ms.
 */
const MAX_EXPONENT = 2n ** 31n - 1n;

/** What is wrong with `key`: `RSA of 1024 bits, not 2048 to 8192`; `undefined` if nothing is. @param key of type `rsa`. */
export const faultOfRsa = ({ asymmetricKeyDetails = {} }: KeyObject): string | undefined => {
  const { modulusLength: bits = 0, publicExponent: exponent = 0n } = asymmetricKeyDetails;
  if (bits < MIN_BITS || bits > MAX_BITS)
    return `RSA of ${bits} bits, not ${MIN_BITS} to ${MAX_BITS}`;
  if (exponent >= 3n && exponent <= MAX_EXPONENT) return undefined;
  return `RSA with a public exponent out of 3 to ${MAX_EXPONENT}`;
};
