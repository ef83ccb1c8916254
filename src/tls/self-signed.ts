/**
 * The X.509 writer behind `issue.ts`, in a file of its own because it is loaded late: the library
 * costs more to load than the rest of the stack.
 */

import 'reflect-metadata'; // which @peculiar/x509 wants to find loaded
import { randomBytes, type webcrypto } from 'node:crypto';
import { Extension, X509CertificateGenerator } from '@peculiar/x509';

export interface SelfSignedOptions {
  readonly keys: webcrypto.CryptoKeyPair;
  readonly algorithm: webcrypto.EcKeyGenParams & webcrypto.EcdsaParams;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** One extension, not critical. */
  readonly extension: { readonly oid: string; readonly value: Uint8Array<ArrayBuffer> };
}

/** A self-signed X.509 v3 certificate, DER. */
export const selfSigned = async (options: SelfSignedOptions): Promise<Uint8Array> => {
  const { keys, algorithm, notBefore, notAfter, extension } = options;
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: randomSerial(),
      // RFC 5280 section 4.1.2.4: the issuer is not empty.
      name: 'O=libp2p',
      notBefore,
      notAfter,
      keys,
      signingAlgorithm: algorithm,
      extensions: [new Extension(extension.oid, false, extension.value)],
    },
    crypto,
  );
  return new Uint8Array(certificate.rawData);
};

/** 16 random bytes as hex, a positive INTEGER without leading zeros (RFC 5280 section 4.1.2.2). */
const randomSerial = (): string => {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
};
