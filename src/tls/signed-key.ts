/**
 * The libp2p Public Key Extension, which binds a certificate's key to a host key (libp2p/specs
 * tls/tls.md, section libp2p Public Key Extension).
 */

import { DER, expectTag, readElements, readOne, writeElement } from './der.ts';

/** The extension's object identifier, 1.3.6.1.4.1.53594.1.1, registered with IANA: its content octets. */
export const EXTENSION_OID = Uint8Array.of(0x2b, 6, 1, 4, 1, 0x83, 0xa2, 0x5a, 1, 1);

const PREFIX = new TextEncoder().encode('libp2p-tls-handshake:');

/** `SignedKey ::= SEQUENCE { publicKey OCTET STRING, signature OCTET STRING }` */
export interface SignedKey {
  /** The host key's `PublicKey` protobuf. */
  readonly publicKey: Uint8Array;
  /** The host key's signature of {@link signedMessage}. */
  readonly signature: Uint8Array;
}

/** What the host key signs: a prefix and the certificate's SubjectPublicKeyInfo, DER. */
export const signedMessage = (subjectPublicKeyInfo: Uint8Array): Uint8Array => {
  const message = new Uint8Array(PREFIX.length + subjectPublicKeyInfo.length);
  message.set(PREFIX);
  message.set(subjectPublicKeyInfo, PREFIX.length);
  return message;
};

/** The extension's value, DER. */
export const encodeSignedKey = ({ publicKey, signature }: SignedKey): Uint8Array<ArrayBuffer> =>
  writeElement(
    DER.SEQUENCE,
    writeElement(DER.OCTET_STRING, publicKey),
    writeElement(DER.OCTET_STRING, signature),
  );

/**
 * Decodes the extension's value. The result's members are views of `value`.
 *
 * @throws Error when `value` is not exactly one SignedKey in DER.
 */
export const decodeSignedKey = (value: Uint8Array): SignedKey => {
  const members = readElements(readOne(value, DER.SEQUENCE).content);
  if (members.length !== 2) throw new Error(`SignedKey with ${members.length} members, not 2`);
  return {
    publicKey: expectTag(members[0], DER.OCTET_STRING).content,
    signature: expectTag(members[1], DER.OCTET_STRING).content,
  };
};
