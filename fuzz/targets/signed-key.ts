/** The libp2p extension of a certificate (src/tls/signed-key.ts), and the DER reader below it. */

import { readElements } from '../../src/tls/der.ts';
import { decodeSignedKey, encodeSignedKey } from '../../src/tls/signed-key.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, sameBytes } from '../support/expect.ts';

const attempt = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch (error) {
    // Their caller makes a code of it; what a bug throws is of another class.
    if (error instanceof Error && error.constructor === Error) return undefined;
    throw error;
  }
};

export const target: FuzzTarget = {
  seeds: () =>
    [0, 1, 127, 128, 255, 256].map((size) =>
      encodeSignedKey({ publicKey: new Uint8Array(36), signature: new Uint8Array(size) }),
    ),
  words: [Uint8Array.of(0x30, 0x80), Uint8Array.of(0x04, 0x81, 0x80), Uint8Array.of(0x82, 1, 0)],
  fuzz: (data) => {
    const elements = attempt(() => readElements(data));
    if (elements !== undefined) {
      check(sameBytes(Buffer.concat(elements.map((it) => it.bytes)), data), 'no byte is skipped');
    }
    const decoded = attempt(() => decodeSignedKey(data));
    if (decoded === undefined) return;
    check(sameBytes(encodeSignedKey(decoded), data), 'DER has one encoding');
  },
};
