/** Makes self-signed X.509 v3 certificates (RFC 5280), as far as libp2p needs them. */

import { type KeyObject, randomBytes, sign } from 'node:crypto';
import { contextTag, DER, writeElement } from './der.ts';

export interface SelfSignedOptions {
  /** A P-256 key pair. */
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  /** Subject and issuer: the name of an organization, in letters and digits. */
  readonly organization: string;
  /** Whole seconds. */
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** One extension, not critical; `oid`: the content octets of its object identifier. */
  readonly extension: { readonly oid: Uint8Array; readonly value: Uint8Array };
}

/** Content octets of object identifiers. */
const ECDSA_WITH_SHA256 = Uint8Array.of(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02);
const ORGANIZATION_NAME = Uint8Array.of(0x55, 0x04, 0x0a);

const VERSION_3 = Uint8Array.of(2);
const NO_UNUSED_BITS = Uint8Array.of(0);

/** The certificate, DER, signed with ECDSA and SHA-256. */
export const selfSigned = (options: SelfSignedOptions): Uint8Array => {
  const { publicKey, privateKey, notBefore, notAfter, extension } = options;
  const algorithm = sequence(writeElement(DER.OID, ECDSA_WITH_SHA256));
  const name = nameOf(options.organization);
  const tbsCertificate = sequence(
    writeElement(contextTag(0), writeElement(DER.INTEGER, VERSION_3)),
    writeElement(DER.INTEGER, randomSerial()),
    algorithm,
    name,
    sequence(timeOf(notBefore), timeOf(notAfter)),
    name,
    publicKey.export({ format: 'der', type: 'spki' }),
    writeElement(
      contextTag(3),
      sequence(
        sequence(
          writeElement(DER.OID, extension.oid),
          writeElement(DER.OCTET_STRING, extension.value),
        ),
      ),
    ),
  );
  const signature = sign('sha256', tbsCertificate, privateKey);
  return sequence(
    tbsCertificate,
    algorithm,
    writeElement(DER.BIT_STRING, NO_UNUSED_BITS, signature),
  );
};

const sequence = (...elements: readonly Uint8Array[]): Uint8Array =>
  writeElement(DER.SEQUENCE, ...elements);

/** A name of one attribute (section 4.1.2.4). */
const nameOf = (organization: string): Uint8Array =>
  sequence(
    writeElement(
      DER.SET,
      sequence(
        writeElement(DER.OID, ORGANIZATION_NAME),
        writeElement(DER.PRINTABLE_STRING, new TextEncoder().encode(organization)),
      ),
    ),
  );

/** 16 random bytes, a positive INTEGER without leading zeros (section 4.1.2.2). */
const randomSerial = (): Uint8Array => {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes;
};

/** UTCTime through 2049, GeneralizedTime from 2050 on (section 4.1.2.5). */
const timeOf = (date: Date): Uint8Array => {
  const digits = date.toISOString().replace(/\.\d+Z$|\D/g, '');
  const isLate = date.getUTCFullYear() >= 2050;
  return writeElement(
    isLate ? DER.GENERALIZED_TIME : DER.UTC_TIME,
    new TextEncoder().encode(`${isLate ? digits : digits.slice(2)}Z`),
  );
};
