/** Our own libp2p certificate (libp2p/specs tls/tls.md, section Peer Authentication). */

import type { HostKey } from '../identity/keys.ts';
import { peerIdOf } from '../identity/peer-id.ts';
import type { TlsCredentials } from './credentials.ts';
import { EXTENSION_OID, encodeSignedKey, signedMessage } from './signed-key.ts';
import { verifyCertificate } from './verify.ts';

/** One certificate and its private key, for any number of connections. */
export interface TlsIdentity extends TlsCredentials {
  /** The certificate of `certificatePem`, DER. */
  readonly certificateDer: Uint8Array;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
/** Clocks that are behind ours by up to an hour see a valid certificate, as with go-libp2p. */
const BACKDATED_MS = 3_600_000;
const VALID_YEARS = 100;

/**
 * Makes a self-signed certificate that carries `hostKey`'s signature of its own, new P-256 key. It is
 * valid from an hour ago for 100 years; its key extension is not critical, so that a TLS library's
 * own checks do not trip over it.
 */
export const issueCertificate = async (hostKey: HostKey): Promise<TlsIdentity> => {
  const { selfSigned } = await import('./self-signed.ts');
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const [spki, pkcs8] = await Promise.all([
    crypto.subtle.exportKey('spki', keys.publicKey),
    crypto.subtle.exportKey('pkcs8', keys.privateKey),
  ]);
  const signedKey = encodeSignedKey({
    publicKey: hostKey.publicKey.protobuf,
    signature: hostKey.sign(signedMessage(new Uint8Array(spki))),
  });
  // Whole seconds: RFC 5280 section 4.1.2.5 has no fractions.
  const now = Math.floor(Date.now() / 1000) * 1000;
  const notAfter = new Date(now);
  notAfter.setUTCFullYear(notAfter.getUTCFullYear() + VALID_YEARS);
  const certificateDer = await selfSigned({
    keys,
    algorithm: ALGORITHM,
    notBefore: new Date(now - BACKDATED_MS),
    notAfter,
    extension: { oid: EXTENSION_OID, value: signedKey },
  });
  // What is sent is what we would accept. This also pays OpenSSL's and the verifier's start-up here,
  // about 3 ms, and not in the first handshake.
  verifyCertificate([certificateDer], peerIdOf(hostKey.publicKey));
  return {
    certificateDer,
    certificatePem: pem('CERTIFICATE', certificateDer),
    privateKeyPem: pem('PRIVATE KEY', new Uint8Array(pkcs8)),
  };
};

const pem = (label: string, der: Uint8Array): string => {
  const base64 = Buffer.from(der)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN ${label}-----\n${base64}\n-----END ${label}-----\n`;
};
