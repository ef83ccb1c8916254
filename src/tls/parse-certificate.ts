/** Parses X.509 v3 certificates (RFC 5280), as far as libp2p looks at them. */

import { contextTag, DER, type DerElement, expectTag, readElements, readOne } from './der.ts';

/** A parsed certificate. */
export interface Certificate {
  /** The AlgorithmIdentifier. */
  readonly signatureAlgorithm: DerElement;
  /** Milliseconds since 1970. */
  readonly validity: { readonly notBefore: number; readonly notAfter: number };
  /** The whole element, DER. */
  readonly subjectPublicKeyInfo: Uint8Array;
  readonly extensions: readonly Extension[];
}

export interface Extension {
  /** The content octets of its object identifier, hex. */
  readonly oid: string;
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/**
 * Parses a certificate (RFC 5280 section 4.1), as far as libp2p looks at it. Unique identifiers are refused.
 *
 * @throws Error when `der` is not an X.509 v3 certificate in DER.
 */
export const parseCertificate = (der: Uint8Array): Certificate => {
  const [tbs, signatureAlgorithm, signature, ...rest] = readElements(
    readOne(der, DER.SEQUENCE).content,
  );
  expectTag(signature, DER.BIT_STRING);
  if (rest.length > 0) throw new Error('surplus element');
  const fields = readElements(expectTag(tbs, DER.SEQUENCE).content);
  const [version, serial, innerAlgorithm, issuer, validity, subject, spki, ...optional] = fields;
  const number = readOne(expectTag(version, contextTag(0)).content, DER.INTEGER);
  if (hex(number.content) !== '02') throw new Error('not version 3');
  expectTag(serial, DER.INTEGER);
  const algorithm = expectTag(signatureAlgorithm, DER.SEQUENCE);
  if (hex(expectTag(innerAlgorithm, DER.SEQUENCE).bytes) !== hex(algorithm.bytes)) {
    throw new Error('two different signature algorithms');
  }
  expectTag(issuer, DER.SEQUENCE);
  expectTag(subject, DER.SEQUENCE);
  const [notBefore, notAfter, ...more] = readElements(expectTag(validity, DER.SEQUENCE).content);
  if (more.length > 0) throw new Error('surplus element in the validity');
  // Unique identifiers ([1] and [2]) are refused here: certificates must omit them.
  const [extensions, ...surplus] = optional;
  if (surplus.length > 0) throw new Error('unique identifier or surplus element');
  return {
    signatureAlgorithm: algorithm,
    validity: { notBefore: readTime(notBefore), notAfter: readTime(notAfter) },
    subjectPublicKeyInfo: expectTag(spki, DER.SEQUENCE).bytes,
    extensions: extensions === undefined ? [] : parseExtensions(extensions),
  };
};

const parseExtensions = (field: DerElement): Extension[] => {
  const list = readOne(expectTag(field, contextTag(3)).content, DER.SEQUENCE);
  return readElements(list.content).map((element) => {
    const members = readElements(expectTag(element, DER.SEQUENCE).content);
    const oid = hex(expectTag(members.shift(), DER.OID).content);
    const critical = members.length > 1 && readBoolean(members.shift());
    const value = expectTag(members.shift(), DER.OCTET_STRING).content;
    if (members.length > 0) throw new Error('surplus element in an extension');
    return { oid, critical, value };
  });
};

/** An explicit FALSE is not DER where it is the default, but some encoders write it. */
const readBoolean = (element: DerElement | undefined): boolean => {
  const value = hex(expectTag(element, DER.BOOLEAN).content);
  if (value !== 'ff' && value !== '00') throw new Error('malformed BOOLEAN');
  return value === 'ff';
};

/** UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5), in ms. */
const readTime = (element: DerElement | undefined): number => {
  const utc = element?.tag === DER.UTC_TIME;
  const { content } = expectTag(element, utc ? DER.UTC_TIME : DER.GENERALIZED_TIME);
  const text = Buffer.from(content).toString('latin1');
  if (!(utc ? /^\d{12}Z$/ : /^\d{14}Z$/).test(text)) throw new Error('malformed time');
  const full = utc ? `${text < '5' ? '20' : '19'}${text}` : text;
  const iso = full.replace(/(....)(..)(..)(..)(..)(..)Z/, '$1-$2-$3T$4:$5:$6.000Z');
  const time = Date.parse(iso);
  // Date.parse moves 30 February into March.
  if (Number.isNaN(time) || new Date(time).toISOString() !== iso) throw new Error('no such time');
  return time;
};

/** `bytes` in hex: how object identifiers, given by their content octets, are compared. */
export const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
