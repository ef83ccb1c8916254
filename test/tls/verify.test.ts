import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  ALGORITHMS,
  type CertificatePlan,
  certificateWithBadExtensionSignature,
  certificateWithExtensionTwice,
  certificateWithoutExtension,
  certificateWithUnknownCriticalExtension,
  certificateWithWrongSelfSignature,
  expiredCertificate,
  makeCertificate,
  notYetValidCertificate,
  publicKeyMessage,
  signedKeyOf,
  type TestExtension,
  testHostKey,
  twoCertificates,
  UNKNOWN_OID,
  validCertificate,
} from '../../interop/hostile/certificates.ts';
import { type ErrorCode, isLeanError } from '../../src/errors.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { contextTag, DER, writeElement } from '../../src/tls/der.ts';
import { verifyCertificate } from '../../src/tls/verify.ts';
import { mutate, seededRandom } from '../support/random.ts';

interface Vector {
  title: string;
  valid: boolean;
  certificate_der_hex: string;
  peer_id: string | null;
}

const { vectors } = JSON.parse(
  readFileSync(new URL('../vectors/tls-certificates.json', import.meta.url), 'utf8'),
) as { vectors: Vector[] };

const hex = (text: string): Uint8Array => Buffer.from(text, 'hex');

const refuses = (
  code: ErrorCode,
  chain: readonly Uint8Array[],
  ...rest: [expected?: ReturnType<typeof peerIdOf>, now?: Date]
): void => {
  assert.throws(() => verifyCertificate(chain, ...rest), { name: 'LeanError', code });
};

/** A certificate whose libp2p extension holds `value`. */
const withExtensionValue = (
  value: (right: TestExtension, spki: Uint8Array) => Uint8Array,
): readonly Uint8Array[] =>
  makeCertificate({
    extensions: (right, spki) => [{ ...right, value: value(right, spki) }],
  }).chain;

const chainOf = (plan: CertificatePlan): readonly Uint8Array[] => makeCertificate(plan).chain;

describe('vectors of libp2p/specs tls', () => {
  for (const { title, valid, certificate_der_hex, peer_id } of vectors) {
    it(title, () => {
      const chain = [hex(certificate_der_hex)];
      if (valid) assert.equal(String(verifyCertificate(chain)), peer_id);
      else refuses('ERR_CERT_EXTENSION_SIGNATURE', chain);
    });
  }
});

describe('accepted', () => {
  for (const type of ['Ed25519', 'RSA', 'Secp256k1', 'ECDSA'] as const) {
    it(`a host key of type ${type}`, () => {
      const hostKey = testHostKey(type);
      const id = peerIdOf(hostKey.publicKey);
      const { chain } = makeCertificate({ hostKey });
      assert.ok(verifyCertificate(chain, id).equals(id));
      assert.equal(verifyCertificate(validCertificate(type).chain).publicKey?.type, type);
    });
  }

  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const certificateKeys: Record<string, CertificatePlan> = {
    'P-384 with SHA-384': {
      key: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
      algorithm: ALGORITHMS.ecdsaSha384,
    },
    'P-521 with SHA-256': { key: generateKeyPairSync('ec', { namedCurve: 'P-521' }) },
    Ed25519: { key: generateKeyPairSync('ed25519'), algorithm: ALGORITHMS.ed25519 },
    'RSA with SHA-256': { key: rsa, algorithm: ALGORITHMS.rsaSha256 },
    'RSA-PSS with SHA-256': { key: rsa, algorithm: ALGORITHMS.rsaPssSha256 },
  };
  for (const [name, plan] of Object.entries(certificateKeys)) {
    it(`a certificate key of ${name}`, () => {
      verifyCertificate(chainOf(plan));
    });
  }

  const extensions: Record<string, NonNullable<CertificatePlan['extensions']>> = {
    'a critical libp2p extension': (right) => [{ ...right, critical: true }],
    'an explicit "not critical"': (right) => [{ ...right, critical: false }],
    'an unknown extension that is not critical': (right) => [
      { oid: UNKNOWN_OID, value: hex('0500') },
      right,
    ],
  };
  for (const [name, list] of Object.entries(extensions)) {
    it(name, () => {
      verifyCertificate(chainOf({ extensions: list }));
    });
  }

  it('validity up to and including its last second', () => {
    const notBefore = new Date('2030-01-01T00:00:00Z');
    const notAfter = new Date('2060-01-01T00:00:00Z');
    const chain = chainOf({ notBefore, notAfter });
    const at = (text: string): Date => new Date(text);
    verifyCertificate(chain, undefined, notBefore);
    verifyCertificate(chain, undefined, at('2060-01-01T00:00:00.999Z'));
    refuses('ERR_CERT_NOT_YET_VALID', chain, undefined, at('2029-12-31T23:59:59.999Z'));
    refuses('ERR_CERT_EXPIRED', chain, undefined, at('2060-01-01T00:00:01Z'));
  });

  it('years of two digits from 1950 to 2049', () => {
    const chain = chainOf({ notBefore: new Date('1950-01-01'), notAfter: new Date('2049-12-31') });
    verifyCertificate(chain);
    verifyCertificate(chain, undefined, new Date('1950-01-02'));
  });
});

describe('refused', () => {
  it('no certificate', () => refuses('ERR_CERT_MISSING', []));

  it('two certificates', () => refuses('ERR_CERT_COUNT', twoCertificates().chain));

  it('an expired certificate', () => refuses('ERR_CERT_EXPIRED', expiredCertificate().chain));

  it('a certificate that is not valid yet', () =>
    refuses('ERR_CERT_NOT_YET_VALID', notYetValidCertificate().chain));

  it('no libp2p extension', () =>
    refuses('ERR_CERT_NO_EXTENSION', certificateWithoutExtension().chain));

  it('other extensions but no libp2p extension', () =>
    refuses(
      'ERR_CERT_NO_EXTENSION',
      chainOf({ extensions: ({ value }) => [{ oid: UNKNOWN_OID, value }] }),
    ));

  it('the libp2p extension twice', () =>
    refuses('ERR_CERT_EXTENSION_REPEATED', certificateWithExtensionTwice().chain));

  it('another extension twice', () => {
    const other = { oid: UNKNOWN_OID, value: hex('0500') };
    refuses('ERR_CERT_MALFORMED', chainOf({ extensions: (right) => [other, right, other] }));
  });

  it('an unknown critical extension', () =>
    refuses('ERR_CERT_UNKNOWN_CRITICAL', certificateWithUnknownCriticalExtension().chain));

  it('an extension signature of another certificate key', () =>
    refuses('ERR_CERT_EXTENSION_SIGNATURE', certificateWithBadExtensionSignature().chain));

  for (const type of ['Ed25519', 'RSA', 'Secp256k1', 'ECDSA'] as const) {
    it(`an extension signature by another host key of type ${type}`, () => {
      const hostKey = testHostKey(type);
      const signer = testHostKey(type === 'RSA' ? 'ECDSA' : type);
      refuses(
        'ERR_CERT_EXTENSION_SIGNATURE',
        withExtensionValue((_, spki) =>
          signedKeyOf({ ...signer, publicKey: hostKey.publicKey }, spki),
        ),
      );
    });
  }

  it('an extension signature without the prefix', () => {
    const hostKey = testHostKey('Ed25519');
    const value = (spki: Uint8Array): Uint8Array =>
      signedKeyOf({ ...hostKey, sign: () => hostKey.sign(spki) }, spki);
    refuses(
      'ERR_CERT_EXTENSION_SIGNATURE',
      withExtensionValue((_, spki) => value(spki)),
    );
  });

  it('a self-signature by another key', () =>
    refuses('ERR_CERT_SELF_SIGNATURE', certificateWithWrongSelfSignature().chain));

  it('a self-signature with a bit changed', () => {
    const [der] = validCertificate().chain;
    assert.ok(der !== undefined);
    const changed = Uint8Array.from(der);
    changed[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
    refuses('ERR_CERT_SELF_SIGNATURE', [changed]);
  });

  it('another peer than the expected one', () => {
    const { chain } = validCertificate();
    refuses('ERR_PEER_ID_MISMATCH', chain, peerIdOf(testHostKey('Ed25519').publicKey));
    assert.throws(() => verifyCertificate(chain, peerIdOf(testHostKey('RSA').publicKey)), {
      message: /^expected peer Qm\w+, found 12D3Koo\w+$/,
    });
  });

  const hostKeys: Record<string, Uint8Array> = {
    'of an unknown type': publicKeyMessage(4, new Uint8Array(32)),
    'of a wrong length': publicKeyMessage(1, new Uint8Array(31)),
    'in a message with trailing bytes': Buffer.concat([
      testHostKey('Ed25519').publicKey.protobuf,
      hex('00'),
    ]),
    'that is empty': new Uint8Array(),
  };
  for (const [name, protobuf] of Object.entries(hostKeys)) {
    it(`a host key ${name}`, () => {
      const { publicKey, sign } = testHostKey('Ed25519');
      const hostKey = { publicKey: { ...publicKey, protobuf }, sign };
      refuses('ERR_CERT_HOST_KEY', chainOf({ hostKey }));
    });
  }

  describe('a malformed libp2p extension', () => {
    const octets = writeElement(DER.OCTET_STRING, new Uint8Array(64));
    const values: Record<string, Uint8Array> = {
      empty: new Uint8Array(),
      'not DER': hex('ffffffff'),
      'an empty SEQUENCE': writeElement(DER.SEQUENCE),
      'an OCTET STRING': octets,
      'one member': writeElement(DER.SEQUENCE, octets),
      'three members': writeElement(DER.SEQUENCE, octets, octets, octets),
      'members of another type': writeElement(DER.SEQUENCE, octets, hex('0500')),
    };
    for (const [name, value] of Object.entries(values)) {
      it(name, () =>
        refuses(
          'ERR_CERT_EXTENSION_MALFORMED',
          withExtensionValue(() => value),
        ),
      );
    }
    it('trailing bytes', () =>
      refuses(
        'ERR_CERT_EXTENSION_MALFORMED',
        withExtensionValue(({ value }) => Buffer.concat([value, hex('00')])),
      ));
    it('cut short', () =>
      refuses(
        'ERR_CERT_EXTENSION_MALFORMED',
        withExtensionValue(({ value }) => value.subarray(0, -1)),
      ));
  });

  describe('weak or unknown algorithms', () => {
    const plans: Record<string, () => CertificatePlan> = {
      'ECDSA with SHA-1': () => ({ algorithm: ALGORITHMS.ecdsaSha1 }),
      'RSA with SHA-1': () => ({
        key: generateKeyPairSync('rsa', { modulusLength: 2048 }),
        algorithm: ALGORITHMS.rsaSha1,
      }),
      'RSA-PSS with SHA-1': () => ({
        key: generateKeyPairSync('rsa', { modulusLength: 2048 }),
        algorithm: ALGORITHMS.rsaPssSha1,
      }),
      'an RSA key of 1024 bits': () => ({
        key: generateKeyPairSync('rsa', { modulusLength: 1024 }),
        algorithm: ALGORITHMS.rsaSha256,
      }),
      'an RSA key with an exponent that makes it slow': () => ({
        key: generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 2 ** 31 + 1 }),
        algorithm: ALGORITHMS.rsaSha256,
      }),
      'a key on secp256k1': () => ({ key: generateKeyPairSync('ec', { namedCurve: 'secp256k1' }) }),
      'a key on P-224': () => ({ key: generateKeyPairSync('ec', { namedCurve: 'P-224' }) }),
      'a curve by parameters': () => ({
        key: generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }),
      }),
      'an algorithm of another kind of key': () => ({
        algorithm: { ...ALGORITHMS.ecdsaSha256, identifier: ALGORITHMS.rsaSha256.identifier },
      }),
    };
    for (const [name, plan] of Object.entries(plans)) {
      it(name, () => refuses('ERR_CERT_ALGORITHM', chainOf(plan())));
    }
  });

  describe('a malformed certificate', () => {
    const [der] = validCertificate().chain;
    assert.ok(der !== undefined);
    const { certificatePem } = validCertificate();
    const bit = (name: number): Uint8Array => writeElement(name, hex('00ff'));
    const chains: Record<string, readonly Uint8Array[]> = {
      empty: [new Uint8Array()],
      'a text': [Buffer.from('not a certificate')],
      PEM: [Buffer.from(certificatePem)],
      'cut short': [der.subarray(0, -1)],
      'with a trailing byte': [Buffer.concat([der, hex('00')])],
      'of more than 16 KiB': chainOf({
        extensions: (right) => [right, { oid: UNKNOWN_OID, value: new Uint8Array(16_384) }],
      }),
      'of version 1': chainOf({ version: '00' }),
      'of version 4': chainOf({ version: '03' }),
      'with an issuerUniqueId': chainOf({ uniqueIds: [bit(0x81)] }),
      'with a subjectUniqueId': chainOf({ uniqueIds: [bit(0x82)] }),
      'with two signature algorithms': chainOf({ innerAlgorithm: ALGORITHMS.ecdsaSha384 }),
      'with an unknown field': chainOf({ uniqueIds: [writeElement(contextTag(4))] }),
      'with a field after the extensions': chainOf({ surplus: [writeElement(contextTag(4))] }),
      'with more extensions than anyone needs': chainOf({
        extensions: (right) => [
          right,
          ...Array.from({ length: 64 }, (_, i) => ({
            oid: UNKNOWN_OID + Buffer.of(i).toString('hex'),
            value: hex('0500'),
          })),
        ],
      }),
    };
    for (const [name, chain] of Object.entries(chains)) {
      it(name, () => refuses('ERR_CERT_MALFORMED', chain));
    }

    const times: Record<string, Uint8Array> = {
      'no time': hex('0500'),
      'a time without seconds': writeElement(DER.UTC_TIME, Buffer.from('4901010000Z')),
      'a time with a zone': writeElement(DER.UTC_TIME, Buffer.from('490101000000+0100')),
      'a time with fractions': writeElement(DER.GENERALIZED_TIME, Buffer.from('20600101000000.5Z')),
      'the 30th of February': writeElement(DER.GENERALIZED_TIME, Buffer.from('20600230000000Z')),
      'the 13th month': writeElement(DER.GENERALIZED_TIME, Buffer.from('20601301000000Z')),
    };
    for (const [name, notAfterElement] of Object.entries(times)) {
      it(`that expires at ${name}`, () =>
        refuses('ERR_CERT_MALFORMED', chainOf({ notAfterElement })));
    }

    it('that hides another one as PEM for Node to find', () => {
      // Its own self-signature is wrong; the one of the certificate inside is right.
      const plan: CertificatePlan = {
        signingKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
        extensions: (right) => [
          right,
          { oid: UNKNOWN_OID, value: Buffer.from(`\n${certificatePem}`) },
        ],
      };
      refuses('ERR_CERT_MALFORMED', chainOf(plan));
    });
  });
});

describe('damaged certificates', () => {
  const acceptable = (original: Uint8Array, damaged: Uint8Array, name: string): void => {
    try {
      const id = verifyCertificate([damaged]);
      // Nothing that is signed can be changed and still be accepted.
      assert.ok(verifyCertificate([original]).equals(id), name);
    } catch (error) {
      assert.ok(isLeanError(error), `${name}: ${error}`);
      assert.match(error.code, /^ERR_CERT_/, name);
    }
  };
  const samples: readonly [string, Uint8Array][] = [
    ...vectors
      .filter(({ valid }) => valid)
      .map((v) => [v.title, hex(v.certificate_der_hex)] as const),
    ['a certificate with an RSA host key', validCertificate('RSA').chain[0] ?? hex('')] as const,
  ].map(([name, der]) => [name, Uint8Array.from(der)]);

  for (const [index, [name, der]] of samples.entries()) {
    it(`cut anywhere: ${name}`, () => {
      for (let length = 0; length < der.length; length++) {
        refuses('ERR_CERT_MALFORMED', [der.subarray(0, length)]);
      }
    });

    it(`with any one bit changed: ${name}`, () => {
      for (let at = 0; at < der.length; at++) {
        const damaged = Uint8Array.from(der);
        damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
        assert.throws(() => verifyCertificate([damaged]), { name: 'LeanError' }, `byte ${at}`);
      }
    });

    it(`at random: ${name}`, () => {
      const random = seededRandom(index);
      for (let round = 0; round < 1_000; round++) {
        acceptable(der, mutate(random, der), `seed ${index}, round ${round}`);
      }
    });
  }

  it('random bytes', () => {
    const random = seededRandom(99);
    for (let round = 0; round < 2_000; round++) {
      const bytes = Uint8Array.from({ length: random.below(300) }, () => random.below(256));
      bytes[0] = 0x30;
      refuses('ERR_CERT_MALFORMED', [bytes]);
    }
  });
});
