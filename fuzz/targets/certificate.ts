/** A peer's TLS certificate (src/tls/verify.ts), DER. */

import { hostKeyFromSeed } from '../../src/identity/keys.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { createVerifier, verifyCertificate } from '../../src/tls/verify.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected } from '../support/expect.ts';

const issued = issueCertificate(hostKeyFromSeed(new Uint8Array(32))).certificateDer;
const verify = createVerifier();

export const target: FuzzTarget = {
  seeds: () => [issued],
  maxLength: 2048,
  words: [
    Uint8Array.of(0x30, 0x82),
    Uint8Array.of(0x30, 0x80),
    Uint8Array.of(0x04, 0x81),
    Buffer.from('060a2b0601040183a25a0101', 'hex'),
    Buffer.from('-----BEGIN CERTIFICATE-----\n'),
    Buffer.from('300a06082a8648ce3d040302', 'hex'),
    Buffer.from('300506032b6570', 'hex'),
    Buffer.from('300d06092a864886f70d01010b0500', 'hex'),
  ],
  fuzz: (data) => {
    try {
      const peer = verify([data]);
      // Whoever changes one byte of a certificate must break one of its signatures.
      check(verifyCertificate([data]).equals(peer), 'a verifier that remembers says the same');
    } catch (error) {
      expected(error, 'ERR_CERT_');
    }
  },
};
