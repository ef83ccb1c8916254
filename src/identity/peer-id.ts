/** Peer ids (libp2p/specs peer-ids/peer-ids.md, section Peer Ids). */

import { createHash } from 'node:crypto';
import { base32 } from 'multiformats/bases/base32';
import { base36 } from 'multiformats/bases/base36';
import { base58btc } from 'multiformats/bases/base58';
import { LeanError } from '../errors.ts';
import { type PublicKey, parsePublicKey } from './keys.ts';

/** The multihash of a host key's protobuf encoding. */
export interface PeerId {
  /** 34 bytes (SHA-256), or at most 44 (identity). */
  readonly multihash: Uint8Array;
  /** The host key: known when the multihash holds it (identity), or when the id was made from it. */
  readonly publicKey: PublicKey | undefined;
  equals(other: PeerId): boolean;
  /** The base58btc multihash, `12D3Koo…` or `Qm…`. */
  toString(): string;
}

/** Multihash codes (multiformats/multicodec). */
const IDENTITY = 0x00;
const SHA2_256 = 0x12;
/** CIDv1 with the codec `libp2p-key`. */
const CID_PREFIX = Uint8Array.of(0x01, 0x72);
/** The longest key encoding that is not hashed, bytes. */
const MAX_INLINE_KEY = 42;
/** The longest valid text is 74 characters: an identity multihash of 44 bytes as a base32 CID. */
const MAX_TEXT = 80;
const CID_BASES = [base32, base36, base58btc];

/** The peer id of a host key. */
export const peerIdOf = (key: PublicKey): PeerId => {
  const encoded = key.protobuf;
  return encoded.length <= MAX_INLINE_KEY
    ? make(multihash(IDENTITY, encoded), key)
    : make(multihash(SHA2_256, createHash('sha256').update(encoded).digest()), key);
};

/**
 * Parses either text form: the base58btc multihash (`1…`, `Qm…`), or a CIDv1 of codec `libp2p-key`
 * in base32 (`b…`), base36 (`k…`) or base58btc (`z…`).
 *
 * @throws ERR_PEER_ID_MALFORMED
 */
export const parsePeerId = (text: string): PeerId => {
  if (text.length > MAX_TEXT) throw malformed(`text of ${text.length} characters`);
  if (text.startsWith('1') || text.startsWith('Qm')) {
    const bytes = decodeText(text, () => base58btc.baseDecode(text));
    return peerIdFromMultihash(bytes);
  }
  const base = CID_BASES.find(({ prefix }) => text.startsWith(prefix));
  if (base === undefined) throw malformed(`"${text}" is neither a base58btc multihash nor a CID`);
  const cid = decodeText(text, () => base.decode(text));
  if (base.encode(cid) !== text) throw malformed(`"${text}" is not canonical ${base.name}`);
  if (cid[0] !== CID_PREFIX[0] || cid[1] !== CID_PREFIX[1]) {
    throw malformed(`"${text}" is not a CIDv1 of codec libp2p-key`);
  }
  return peerIdFromMultihash(cid.subarray(CID_PREFIX.length));
};

/**
 * The peer id of a multihash: SHA-256, or identity around a host key of at most 42 bytes. The bytes
 * are copied.
 *
 * @throws ERR_PEER_ID_MALFORMED
 */
export const peerIdFromMultihash = (bytes: Uint8Array): PeerId => {
  const [code, length] = bytes;
  if (length !== bytes.length - 2) throw malformed('multihash of the wrong length');
  if (code === SHA2_256 && length === 32) return make(Uint8Array.from(bytes), undefined);
  if (code !== IDENTITY || length > MAX_INLINE_KEY) {
    throw malformed('multihash is neither SHA-256 nor an identity of at most 42 bytes');
  }
  try {
    return make(Uint8Array.from(bytes), parsePublicKey(bytes.subarray(2)));
  } catch (cause) {
    throw malformed('identity multihash does not hold a public key', cause);
  }
};

/** The CIDv1 form, `bafz…` in base32 (the default) or `k…` in base36. */
export const peerIdToCid = (id: PeerId, base: 'base32' | 'base36' = 'base32'): string => {
  const cid = new Uint8Array(CID_PREFIX.length + id.multihash.length);
  cid.set(CID_PREFIX);
  cid.set(id.multihash, CID_PREFIX.length);
  return base === 'base32' ? base32.encode(cid) : base36.encode(cid);
};

const make = (bytes: Uint8Array, publicKey: PublicKey | undefined): PeerId => {
  let text: string | undefined;
  return {
    multihash: bytes,
    publicKey,
    equals: (other) => equalBytes(bytes, other.multihash),
    toString: () => {
      text ??= base58btc.baseEncode(bytes);
      return text;
    },
  };
};

const multihash = (code: number, digest: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(2 + digest.length);
  bytes[0] = code;
  bytes[1] = digest.length;
  bytes.set(digest, 2);
  return bytes;
};

/** Compares in constant time. */
const equalBytes = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
};

const decodeText = (text: string, decode: () => Uint8Array): Uint8Array => {
  try {
    return decode();
  } catch (cause) {
    throw malformed(`cannot decode "${text}"`, cause);
  }
};

const malformed = (what: string, cause?: unknown): LeanError =>
  new LeanError('ERR_PEER_ID_MALFORMED', `malformed peer id: ${what}`, { cause });
