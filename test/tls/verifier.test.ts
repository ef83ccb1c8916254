import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  certificateWithBadExtensionSignature,
  certificateWithWrongSelfSignature,
  expiredCertificate,
  testHostKey,
  validCertificate,
} from '../../interop/hostile/certificates.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { createVerifier, verifyCertificate } from '../../src/tls/verify.ts';

const other = peerIdOf(testHostKey('Secp256k1').publicKey);
const refuses = (code: ErrorCode, verify: () => unknown): void => {
  assert.throws(verify, { name: 'LeanError', code });
};

describe('a verifier that remembers', () => {
  it('says of a certificate that it knows what it said at first', () => {
    const verify = createVerifier();
    const { chain } = validCertificate();
    const id = verifyCertificate(chain);
    assert(verify(chain).equals(id));
    assert(verify([Uint8Array.from(chain[0] ?? [])], id).equals(id));
  });

  it('still looks at the peer that is expected and at the time', () => {
    const verify = createVerifier();
    const { chain } = validCertificate();
    verify(chain);
    refuses('ERR_PEER_ID_MISMATCH', () => verify(chain, other));
    refuses('ERR_CERT_EXPIRED', () => verify(chain, undefined, new Date('9999-12-31')));
    refuses('ERR_CERT_NOT_YET_VALID', () => verify(chain, undefined, new Date('1970-01-01')));
    refuses('ERR_CERT_COUNT', () => verify([...chain, ...chain]));
  });

  it('remembers nothing that it refused', () => {
    const verify = createVerifier();
    for (const [code, { chain }] of [
      ['ERR_CERT_SELF_SIGNATURE', certificateWithWrongSelfSignature()],
      ['ERR_CERT_EXTENSION_SIGNATURE', certificateWithBadExtensionSignature()],
      ['ERR_CERT_EXPIRED', expiredCertificate()],
    ] as const) {
      refuses(code, () => verify(chain));
      refuses(code, () => verify(chain));
    }
  });

  it('knows a certificate by every one of its bits', () => {
    const verify = createVerifier();
    const [der = new Uint8Array()] = validCertificate().chain;
    verify([der]);
    for (let at = 0; at < der.length; at++) {
      const damaged = Uint8Array.from(der);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
      assert.throws(() => verify([damaged]), { name: 'LeanError' }, `byte ${at}`);
    }
  });

  it('forgets the oldest when there are many', () => {
    const verify = createVerifier();
    const chains = Array.from({ length: 300 }, () => validCertificate().chain);
    for (const chain of [...chains, ...chains]) {
      assert(verify(chain).equals(verifyCertificate(chain)));
    }
  });
});
