/**
 * ChaCha20-Poly1305 (RFC 8439) over chunks: OpenSSL's where the runtime's `node:crypto` has it, else that of
 * `@noble/ciphers` (on Bun, whose BoringSSL binding lacks it).
 */

import { createCipheriv, createDecipheriv, getCiphers } from 'node:crypto';
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { concat } from '../stream/bytes.ts';

/** Bytes of the authentication tag. */
export const TAG_LENGTH = 16;

export interface ChaCha {
  /**
   * Encrypts the concatenation of `chunks`.
   *
   * @param key 32 bytes.
   * @param nonce 12 bytes.
   * @param ad associated data; may be empty.
   * @returns ciphertext in one or more chunks, the 16-byte tag at the end of the last.
   */
  seal(
    key: Uint8Array,
    nonce: Uint8Array,
    ad: Uint8Array,
    chunks: readonly Uint8Array[],
  ): Uint8Array[];
  /**
   * Decrypts the concatenation of `chunks`, ciphertext without the tag.
   *
   * @returns plaintext in chunks, or `undefined` when it is not authentic.
   */
  open(
    key: Uint8Array,
    nonce: Uint8Array,
    ad: Uint8Array,
    chunks: readonly Uint8Array[],
    tag: Uint8Array,
  ): Uint8Array[] | undefined;
}

const ALGORITHM = 'chacha20-poly1305';
const OPTIONS = { authTagLength: TAG_LENGTH } as const;

/** OpenSSL's. One output chunk per input chunk; nothing is copied. */
export const nativeChaCha: ChaCha = {
  seal: (key, nonce, ad, chunks) => {
    const cipher = createCipheriv(ALGORITHM, key, nonce, OPTIONS);
    // The length is only for CCM; OpenSSL ignores it here.
    if (ad.length > 0) cipher.setAAD(ad, { plaintextLength: 0 });
    const out: Uint8Array[] = [];
    for (const chunk of chunks) out.push(cipher.update(chunk));
    cipher.final();
    out.push(cipher.getAuthTag());
    return out;
  },
  open: (key, nonce, ad, chunks, tag) => {
    const decipher = createDecipheriv(ALGORITHM, key, nonce, OPTIONS);
    if (ad.length > 0) decipher.setAAD(ad, { plaintextLength: 0 });
    decipher.setAuthTag(tag);
    const out: Uint8Array[] = [];
    for (const chunk of chunks) out.push(decipher.update(chunk));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return out;
  },
};

/** In JavaScript: slower, runs everywhere. */
export const portableChaCha: ChaCha = {
  seal: (key, nonce, ad, chunks) => [chacha20poly1305(key, nonce, ad).encrypt(concat(chunks))],
  open: (key, nonce, ad, chunks, tag) => {
    try {
      return [chacha20poly1305(key, nonce, ad).decrypt(concat([...chunks, tag]))];
    } catch {
      return undefined;
    }
  },
};

export const chacha: ChaCha = getCiphers().includes(ALGORITHM) ? nativeChaCha : portableChaCha;
