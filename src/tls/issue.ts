/** Issues libp2p certificates (libp2p/specs tls/tls.md, section Peer Authentication). */

import { generateKeyPairSync } from 'node:crypto';
import type { SigningKey } from '../identity/keys.ts';
import { peerIdOf } from '../identity/peer-id.ts';
import type { TlsCredentials } from './credentials.ts';
import { selfSigned } from './self-signed.ts';
import { EXTENSION_OID, encodeSignedKey, signedMessage } from './signed-key.ts';
import { verifyCertificate } from './verify.ts';

/** One certificate and its private key, for any number of connections. */
export interface TlsIdentity extends TlsCredentials {
  /** The certificate of `certificatePem`, DER. */
  readonly certificateDer: Uint8Array;
}

/** How long ago validity begins, milliseconds, so that a peer's clock may be an hour behind; go-libp2p's value. */
const BACKDATED_MS = 3_600_000;
const VALID_YEARS = 100;

/**
 * Makes a P-256 key and a self-signed certificate for it, with `hostKey`'s signature of that key in the libp2p extension.
 * It is valid from an hour ago, for 100 years. The extension is not critical, so that TLS libraries accept it.
 */
export const issueCertificate = (hostKey: SigningKey): TlsIdentity => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ format: 'der', type: 'spki' });
  const signedKey = encodeSignedKey({
    publicKey: hostKey.publicKey.protobuf,
    signature: hostKey.sign(signedMessage(spki)),
  });
  // Whole seconds: RFC 5280 section 4.1.2.5 has no fractions.
  const now = Math.floor(Date.now() / 1000) * 1000;
  const notAfter = new Date(now);
  notAfter.setUTCFullYear(notAfter.getUTCFullYear() + VALID_YEARS);
  const certificateDer = selfSigned({
    publicKey,
    privateKey,
    // RFC 5280 section 4.1.2.4: the issuer is not empty.
    organization: 'libp2p',
    notBefore: new Date(now - BACKDATED_MS),
    notAfter,
    extension: { oid: EXTENSION_OID, value: signedKey },
  });
  // Checks that we would accept it ourselves. This also initialises OpenSSL and the verifier before the first
  // handshake.
  verifyCertificate([certificateDer], peerIdOf(hostKey.publicKey));
  return {
    certificateDer,
    certificatePem: pem('CERTIFICATE', certificateDer),
    privateKeyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  };
};

const pem = (label: string, der: Uint8Array): string => {
  const base64 = Buffer.from(der)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN ${label}-----\n${base64}\n-----END ${label}-----\n`;
};
