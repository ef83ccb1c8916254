import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { describe, it } from 'node:test';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { verifyCertificate } from '../../src/tls/verify.ts';

const hostKey = generateHostKey();
const issued = await issueCertificate(hostKey);
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

  it('has a serial number, a key and a signature of its own', async () => {
    const others = await Promise.all([1, 2, 3].map(() => issueCertificate(hostKey)));
    const all = [issued, ...others].map(
      ({ certificatePem }) => new X509Certificate(certificatePem),
    );
    assert.equal(new Set(all.map(({ serialNumber }) => serialNumber)).size, all.length);
    for (const { serialNumber } of all) assert.match(serialNumber, /^[4-7][0-9A-F]{31}$/);
    const keys = all.map(({ publicKey }) => publicKey.export({ format: 'pem', type: 'spki' }));
    assert.equal(new Set(keys).size, all.length);
  });
});
