/**
 * Ed25519 key pairs (RFC 8032), from their 32-byte seeds: native where the runtime's `node:crypto` has
 * the curve, else through `@noble/ed25519`. Both give the same keys and the same signatures. The first
 * native key takes less than 1 ms; noble's first takes 25 ms, as it computes a table of base-point multiples.
 */

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign as signNatively,
} from 'node:crypto';
import * as noble from '@noble/ed25519';

export interface KeyPair {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Returns the 64-byte signature of `message`. */
  readonly sign: (message: Uint8Array) => Uint8Array;
}

/** Bytes of a seed. */
export const SEED_LENGTH = 32;

/** PKCS #8 up to the seed, which follows (RFC 8410 section 7). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
/** SubjectPublicKeyInfo up to the 32 bytes of the key, which follow (RFC 8410 section 4). */
const SPKI_PREFIX_LENGTH = 12;

/** The key pair of `seed`, 32 bytes, which must not be changed afterwards. */
export const keyPairFromSeed = (seed: Uint8Array): KeyPair =>
  isNative() ? nativeKeyPair(seed) : nobleKeyPair(seed);

export const nativeKeyPair = (seed: Uint8Array): KeyPair => {
  const privateKey = importSeed(seed);
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return {
    publicKey: Uint8Array.from(spki.subarray(SPKI_PREFIX_LENGTH)),
    sign: (message) => new Uint8Array(signNatively(null, message, privateKey)),
  };
};

export const nobleKeyPair = (seed: Uint8Array): KeyPair => ({
  publicKey: withSha512(() => noble.getPublicKey(seed)),
  sign: (message) => withSha512(() => noble.sign(message, seed)),
});

/** Runs `use` with our SHA-512 in noble's table of hash functions, which all its importers share. */
const withSha512 = <T>(use: () => T): T => {
  const before = noble.hashes.sha512;
  noble.hashes.sha512 = sha512;
  try {
    return use();
  } finally {
    noble.hashes.sha512 = before;
  }
};

const sha512 = (message: Uint8Array): Uint8Array<ArrayBuffer> =>
  new Uint8Array(createHash('sha512').update(message).digest());

const importSeed = (seed: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' });

let native: boolean | undefined;
const isNative = (): boolean => {
  if (native === undefined) {
    try {
      importSeed(new Uint8Array(SEED_LENGTH));
      native = true;
    } catch {
      native = false;
    }
  }
  return native;
};
