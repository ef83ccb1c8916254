/**
 * Host keys: the long-lived keys that name a peer (libp2p/specs peer-ids/peer-ids.md, section Keys).
 *
 * Generated keys are Ed25519; imported keys and peers' keys are of any of four types. `node:crypto` verifies
 * signatures natively.
 */

import {
  createPublicKey,
  type KeyObject,
  randomBytes,
  verify as verifyNatively,
} from 'node:crypto';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { LeanError } from '../errors.ts';
import { keyPairFromSeed, SEED_LENGTH } from './ed25519.ts';
import { faultOfRsa } from './rsa-bounds.ts';
import { isSecp256k1Point, verifySecp256k1 } from './secp256k1.ts';

/** Names of the protobuf enum `KeyType`, whose numbers 0..3 are the positions in {@link KEY_TYPES}. */
export type KeyType = 'RSA' | 'Ed25519' | 'Secp256k1' | 'ECDSA';

const KEY_TYPES: readonly KeyType[] = ['RSA', 'Ed25519', 'Secp256k1', 'ECDSA'];

export interface PublicKey {
  readonly type: KeyType;
  /**
   * Ed25519: 32 bytes. Secp256k1: the 33-byte compressed point. RSA and ECDSA: a PKIX
   * SubjectPublicKeyInfo, DER.
   */
  readonly data: Uint8Array;
  /** The `PublicKey` message that peer ids are made of: deterministic, two fields in tag order. */
  readonly protobuf: Uint8Array;
}

/** A host key of any type, to sign with. */
export interface SigningKey {
  readonly publicKey: PublicKey;
  /** Returns the signature of `message`, as {@link verifySignature} takes it. */
  sign(message: Uint8Array): Uint8Array;
}

/** An Ed25519 key pair. */
export interface HostKey extends SigningKey {
  /** Returns the 64-byte Ed25519 signature (RFC 8032) of `message`. */
  sign(message: Uint8Array): Uint8Array;
  /** The 32-byte secret (RFC 8032 section 5.1.5). Keep it out of logs. */
  readonly seed: Uint8Array;
}

/** Room for an RSA key of 8192 bits (1,062 bytes of SubjectPublicKeyInfo), the largest allowed. */
const MAX_PROTOBUF = 2048;
/**
 * How SubjectPublicKeyInfos on P-256, P-384 and P-521 begin, hex: curve by name, point uncompressed
 * (RFC 5480). OpenSSL would also take curves by parameters and compressed points, which other
 * implementations refuse.
 */
const ECDSA_SPKI_PREFIXES: readonly string[] = [
  '3059301306072a8648ce3d020106082a8648ce3d03010703420004',
  '3076301006072a8648ce3d020106052b8104002203620004',
  '30819b301006072a8648ce3d020106052b810400230381860004',
];

/** SubjectPublicKeyInfo up to the 32 bytes of the key, which follow (RFC 8410). */
const ED25519_SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

/** Makes a new Ed25519 host key from the system's random source. */
export const generateHostKey = (): HostKey => hostKeyFromSeed(randomBytes(SEED_LENGTH));

/**
 * The Ed25519 host key of a 32-byte seed.
 *
 * @throws ERR_KEY_MALFORMED when the seed is not 32 bytes.
 */
export const hostKeyFromSeed = (seed: Uint8Array): HostKey => {
  if (seed.length !== SEED_LENGTH) {
    throw new LeanError('ERR_KEY_MALFORMED', `Ed25519 seed of ${seed.length} bytes, not 32`);
  }
  const secret = Uint8Array.from(seed);
  const { publicKey: data, sign } = keyPairFromSeed(secret);
  return {
    publicKey: { type: 'Ed25519', data, protobuf: encode('Ed25519', data) },
    sign,
    seed: secret,
  };
};

/**
 * Makes a public key.
 *
 * @param data as in {@link PublicKey}.
 * @throws ERR_KEY_MALFORMED as {@link parsePublicKey}.
 */
export const publicKeyOf = (type: KeyType, data: Uint8Array): PublicKey =>
  parsePublicKey(encode(type, data));

/**
 * Parses a `PublicKey` message, at most 2 KiB. The encoding must be the deterministic one: both
 * fields, in tag order, minimal varints, nothing else. RSA keys must have 2048 to 8192 bits and a public exponent below
 * 2^31, ECDSA keys be uncompressed points of P-256, P-384 or P-521, given by name. `data` and `protobuf` are copies.
 *
 * @throws ERR_KEY_TYPE for an unknown key type; ERR_KEY_MALFORMED for everything else.
 */
export const parsePublicKey = (protobuf: Uint8Array): PublicKey => {
  if (protobuf.length > MAX_PROTOBUF) {
    throw malformed(`${protobuf.length} bytes, at most ${MAX_PROTOBUF} allowed`);
  }
  const bytes = Uint8Array.from(protobuf);
  const { type, data } = decode(bytes);
  if (!equalBytes(encode(type, data), bytes)) throw malformed('encoding is not deterministic');
  checkData(type, data);
  return { type, data, protobuf: bytes };
};

/**
 * Whether `signature` is the signature of `message` by `key`: Ed25519 as in RFC 8032, RSA as
 * RSASSA-PKCS1-v1_5 with SHA-256, Secp256k1 and ECDSA with SHA-256 and a DER signature. Never throws.
 */
export const verifySignature = (
  key: PublicKey,
  message: Uint8Array,
  signature: Uint8Array,
): boolean => {
  const { type, data } = key;
  try {
    if (type === 'Secp256k1') return verifySecp256k1(data, message, signature);
    if (type === 'Ed25519') {
      const native = importSpki(Buffer.concat([ED25519_SPKI_PREFIX, data]));
      return verifyNatively(null, message, native, signature);
    }
    return verifyNatively('sha256', message, importSpki(data), signature);
  } catch {
    return false;
  }
};

const encode = (type: KeyType, data: Uint8Array): Uint8Array =>
  new BinaryWriter()
    .tag(1, WireType.Varint)
    .uint32(KEY_TYPES.indexOf(type))
    .tag(2, WireType.LengthDelimited)
    .bytes(data)
    .finish();

const decode = (bytes: Uint8Array): { type: KeyType; data: Uint8Array } => {
  let number: number;
  let data: Uint8Array;
  try {
    const reader = new BinaryReader(bytes);
    expectTag(reader, 1, WireType.Varint);
    number = reader.uint32();
    expectTag(reader, 2, WireType.LengthDelimited);
    data = reader.bytes();
  } catch (cause) {
    throw malformed('not a PublicKey message', cause);
  }
  const type = KEY_TYPES[number];
  if (type === undefined) throw new LeanError('ERR_KEY_TYPE', `unknown host key type ${number}`);
  return { type, data };
};

const expectTag = (reader: BinaryReader, field: number, wireType: WireType): void => {
  const [actualField, actualType] = reader.tag();
  if (actualField !== field || actualType !== wireType) throw new Error('unexpected field');
};

const checkData = (type: KeyType, data: Uint8Array): void => {
  if (type === 'Ed25519') {
    if (data.length !== 32) throw malformed(`Ed25519 key of ${data.length} bytes, not 32`);
  } else if (type === 'Secp256k1') {
    if (!isSecp256k1Point(data)) throw malformed('not a compressed point of secp256k1');
  } else {
    checkSpki(type, data);
  }
};

const checkSpki = (type: 'RSA' | 'ECDSA', data: Uint8Array): void => {
  let key: KeyObject;
  let reencoded: Buffer;
  try {
    key = importSpki(data);
    reencoded = key.export({ format: 'der', type: 'spki' });
  } catch (cause) {
    throw malformed('not a SubjectPublicKeyInfo', cause);
  }
  if (!equalBytes(reencoded, data)) throw malformed('SubjectPublicKeyInfo is not DER');
  if (type === 'ECDSA') {
    const text = reencoded.toString('hex');
    if (!ECDSA_SPKI_PREFIXES.some((prefix) => text.startsWith(prefix))) {
      throw malformed('not an uncompressed ECDSA key on P-256, P-384 or P-521');
    }
    return;
  }
  if (key.asymmetricKeyType !== 'rsa') throw malformed(`${key.asymmetricKeyType} key, not RSA`);
  const fault = faultOfRsa(key);
  if (fault !== undefined) throw malformed(fault);
};

/** A view, not a copy: `node:crypto` makes its own copy. */
const importSpki = (der: Uint8Array): KeyObject =>
  createPublicKey({
    key: Buffer.from(der.buffer, der.byteOffset, der.byteLength),
    format: 'der',
    type: 'spki',
  });

const equalBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

const malformed = (what: string, cause?: unknown): LeanError =>
  new LeanError('ERR_KEY_MALFORMED', `malformed public key: ${what}`, { cause });
