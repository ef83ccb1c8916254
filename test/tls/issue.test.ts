import assert from 'node:assert/strict';
import 'reflect-metadata'; // which @peculiar/x509 wants to find loaded
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  X509Certificate,
} from 'node:crypto';
import { describe, it } from 'node:test';
import * as x509 from '@peculiar/x509';
import { generateHostKey, verifySignature } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { DER, readElements, readOne } from '../../src/tls/der.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { selfSigned } from '../../src/tls/self-signed.ts';
import { decodeSignedKey, EXTENSION_OID, signedMessage } from '../../src/tls/signed-key.ts';
import { verifyCertificate } from '../../src/tls/verify.ts';

const hostKey = generateHostKey();
const issued = issueCertificate(hostKey);
const certificate = new X509Certificate(issued.certificatePem);

describe('an issued certificate', () => {
  it('is what a verifier accepts', () => {
    const id = peerIdOf(hostKey.publicKey);
    const verified = verifyCertificate([issued.certificateDer], id);
    assert.ok(verified.equals(id));
    assert.deepEqual(verified.publicKey, hostKey.publicKey);
  });

  it('is the same in DER and PEM', () => {
    assert.deepEqual(Buffer.from(issued.certificateDer), certificate.raw);
  });

  it('belongs to its private key, on P-256, which is not the host key', () => {
    const key = createPrivateKey(issued.privateKeyPem);
    assert.equal(key.asymmetricKeyDetails?.namedCurve, 'prime256v1');
    assert.ok(certificate.checkPrivateKey(key));
    assert.ok(createPublicKey(key).equals(certificate.publicKey));
  });

  it('is its own issuer, and not empty', () => {
    assert.equal(certificate.subject, 'O=libp2p');
    assert.equal(certificate.issuer, certificate.subject);
    assert.ok(certificate.verify(certificate.publicKey));
  });

  it('is valid from an hour ago for a century', () => {
    const now = Date.now();
    const from = Date.parse(certificate.validFrom);
    const to = Date.parse(certificate.validTo);
    assert.ok(now - from >= 3_600_000 && now - from < 7_200_000, certificate.validFrom);
    assert.equal(new Date(to).getUTCFullYear(), new Date().getUTCFullYear() + 100);
  });

  it('is verifiable for a century, and no longer', () => {
    const at = (time: number) => () =>
      verifyCertificate([issued.certificateDer], undefined, new Date(time));
    const from = Date.parse(certificate.validFrom);
    const to = Date.parse(certificate.validTo);
    at(from)();
    at(to)();
    assert.throws(at(from - 1), { code: 'ERR_CERT_NOT_YET_VALID' });
    assert.throws(at(to + 1000), { code: 'ERR_CERT_EXPIRED' });
  });

  it('is small', () => {
    // With a P-256 key and an Ed25519 host key; it must fit the first flight of a QUIC listener.
    assert.ok(issued.certificateDer.length < 450, `${issued.certificateDer.length} bytes`);
  });

  it('has a serial number, a key and a signature of its own', () => {
    const others = [1, 2, 3].map(() => issueCertificate(hostKey));
    const all = [issued, ...others].map(
      ({ certificatePem }) => new X509Certificate(certificatePem),
    );
    assert.equal(new Set(all.map(({ serialNumber }) => serialNumber)).size, all.length);
    for (const { serialNumber } of all) assert.match(serialNumber, /^[4-7][0-9A-F]{31}$/);
    const keys = all.map(({ publicKey }) => publicKey.export({ format: 'pem', type: 'spki' }));
    assert.equal(new Set(keys).size, all.length);
  });
});

describe('an issued certificate, read and written by @peculiar/x509', () => {
  const read = new x509.X509Certificate(issued.certificateDer);

  it('is signed by its own key', async () => {
    assert.ok(await read.isSelfSigned());
    assert.deepEqual(read.signatureAlgorithm, { name: 'ECDSA', hash: { name: 'SHA-256' } });
  });

  it('holds one extension, that of libp2p, which is not critical', () => {
    assert.deepEqual(
      Array.from(read.extensions, ({ type, critical }) => [type, critical]),
      [['1.3.6.1.4.1.53594.1.1', false]],
    );
    const { publicKey, signature } = decodeSignedKey(
      new Uint8Array(read.extensions[0]?.value ?? []),
    );
    assert.deepEqual(Uint8Array.from(publicKey), hostKey.publicKey.protobuf);
    const message = signedMessage(new Uint8Array(read.publicKey.rawData));
    assert.ok(verifySignature(hostKey.publicKey, message, signature));
  });

  // Both kinds of time: UTCTime through 2049, GeneralizedTime from 2050 on.
  for (const until of ['2049-12-31T23:59:59Z', '2050-01-01T00:00:00Z', '2126-02-28T12:34:56Z']) {
    it(`is what it writes, byte for byte up to the signature, until ${until}`, async () => {
      const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const [notBefore, notAfter] = [new Date('1999-07-05T01:02:03Z'), new Date(until)];
      const value = randomBytes(300);
      const ours = selfSigned({
        ...{ publicKey, privateKey, notBefore, notAfter, organization: 'libp2p' },
        extension: { oid: EXTENSION_OID, value },
      });
      const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
      const import_ = (format: 'spki' | 'pkcs8', key: KeyObject, use: 'verify' | 'sign') =>
        crypto.subtle.importKey(
          format,
          Uint8Array.from(
            key.export({ format: 'der', type: format } as { format: 'der'; type: 'spki' }),
          ),
          algorithm,
          true,
          [use],
        );
      const theirs = await x509.X509CertificateGenerator.createSelfSigned(
        {
          serialNumber: new X509Certificate(ours).serialNumber,
          name: 'O=libp2p',
          ...{ notBefore, notAfter },
          keys: {
            publicKey: await import_('spki', publicKey, 'verify'),
            privateKey: await import_('pkcs8', privateKey, 'sign'),
          },
          signingAlgorithm: algorithm,
          extensions: [new x509.Extension('1.3.6.1.4.1.53594.1.1', false, value)],
        },
        crypto,
      );
      const [ourPart, theirPart] = [ours, new Uint8Array(theirs.rawData)].map((der) =>
        readElements(readOne(der, DER.SEQUENCE).content)
          .slice(0, 2)
          .map(({ bytes }) => Buffer.from(bytes).toString('hex')),
      );
      assert.deepEqual(ourPart, theirPart);
    });
  }
});
