/**
 * Signed envelopes (libp2p/specs RFC/0002-signed-envelopes.md): a payload and its type, signed by a host key for one
 * purpose, the domain.
 */

import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { LeanError } from '../errors.ts';
import { type HostKey, type PublicKey, parsePublicKey, verifySignature } from './keys.ts';

export interface SignedEnvelope {
  /** The signer's. */
  readonly publicKey: PublicKey;
  readonly payloadType: Uint8Array;
  readonly payload: Uint8Array;
}

/** The longest envelope accepted, bytes: a peer record with many addresses stays below it. */
const MAX_ENVELOPE = 8 * 1024;

/** Signs a payload, and encodes it as the protobuf message `Envelope`. */
export const sealEnvelope = (
  hostKey: HostKey,
  domain: string,
  payloadType: Uint8Array,
  payload: Uint8Array,
): Uint8Array =>
  new BinaryWriter()
    .tag(1, WireType.LengthDelimited)
    .bytes(hostKey.publicKey.protobuf)
    .tag(2, WireType.LengthDelimited)
    .bytes(payloadType)
    .tag(3, WireType.LengthDelimited)
    .bytes(payload)
    .tag(5, WireType.LengthDelimited)
    .bytes(hostKey.sign(signedBytes(domain, payloadType, payload)))
    .finish();

/**
 * Decodes a protobuf message `Envelope` and verifies its signature. The caller must check who may sign.
 *
 * @throws ERR_PROTOCOL_VIOLATION when it is malformed, or its signature is wrong or for another domain;
 * ERR_KEY_MALFORMED, ERR_KEY_TYPE; ERR_MESSAGE_TOO_LONG.
 */
export const openEnvelope = (bytes: Uint8Array, domain: string): SignedEnvelope => {
  if (bytes.length > MAX_ENVELOPE) {
    throw new LeanError('ERR_MESSAGE_TOO_LONG', `signed envelope of ${bytes.length} bytes`);
  }
  const fields: (Uint8Array | undefined)[] = [];
  try {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (wireType === WireType.LengthDelimited && field <= 5) fields[field] = reader.bytes();
      else reader.skip(wireType, field);
    }
  } catch (cause) {
    throw malformed('it is not a protobuf message', cause);
  }
  const [, key, payloadType = NOTHING, payload = NOTHING, , signature] = fields;
  if (key === undefined || signature === undefined)
    throw malformed('it has no key or no signature');
  const publicKey = parsePublicKey(key);
  if (!verifySignature(publicKey, signedBytes(domain, payloadType, payload), signature)) {
    throw malformed(`its signature for ${domain} is wrong`);
  }
  return { publicKey, payloadType, payload };
};

const NOTHING = new Uint8Array(0);

const signedBytes = (domain: string, payloadType: Uint8Array, payload: Uint8Array): Uint8Array =>
  new BinaryWriter().string(domain).bytes(payloadType).bytes(payload).finish();

const malformed = (why: string, cause?: unknown): LeanError =>
  new LeanError('ERR_PROTOCOL_VIOLATION', `signed envelope: ${why}`, { cause });
