/** Verification of a peer's libp2p certificate (libp2p/specs tls/tls.md, section Peer Authentication). */

import { type KeyObject, X509Certificate } from 'node:crypto';
import { type ErrorCode, LeanError } from '../errors.ts';
import { type PublicKey, parsePublicKey, verifySignature } from '../identity/keys.ts';
import { type PeerId, peerIdOf } from '../identity/peer-id.ts';
import { faultOfRsa } from '../identity/rsa-bounds.ts';
import { contextTag, DER, type DerElement, expectTag, readElements, readOne } from './der.ts';
import { type Certificate, type Extension, hex, parseCertificate } from './parse-certificate.ts';
import { decodeSignedKey, EXTENSION_OID, type SignedKey, signedMessage } from './signed-key.ts';

/** Room for a certificate key and a host key of RSA with 8192 bits, and for extensions. */
const MAX_CERTIFICATE = 16_384;

// Object identifiers as DER content octets, hex.

const SIGNED_KEY = hex(EXTENSION_OID);
const RSASSA_PSS = '2a864886f70d01010a';

/** The kind of key of each accepted signature algorithm; all of them hash to 256 bits or more. */
const SIGNATURE_ALGORITHMS: ReadonlyMap<string, 'ec' | 'rsa' | 'ed25519'> = new Map([
  ['2a8648ce3d040302', 'ec'], // ecdsa-with-SHA256, -SHA384, -SHA512
  ['2a8648ce3d040303', 'ec'],
  ['2a8648ce3d040304', 'ec'],
  ['2a864886f70d01010b', 'rsa'], // sha256WithRSAEncryption, sha384…, sha512…
  ['2a864886f70d01010c', 'rsa'],
  ['2a864886f70d01010d', 'rsa'],
  [RSASSA_PSS, 'rsa'],
  ['2b6570', 'ed25519'],
]);

/** SHA-256, SHA-384 and SHA-512, which RSASSA-PSS names in its parameters. */
const HASHES: ReadonlySet<string> = new Set([
  '608648016503040201',
  '608648016503040202',
  '608648016503040203',
]);

/** P-256, P-384 and P-521 (RFC 5480 section 2.1.1.1). */
const CURVES: ReadonlySet<string> = new Set(['2a8648ce3d030107', '2b81040022', '2b81040023']);

/**
 * Verifies the peer's certificate chain and returns the peer's id, with its host key.
 *
 * @param chain DER, leaf first. It must be exactly one certificate.
 * @param expected The peer that was dialled.
 * @param now When the certificate must be valid; the bounds of its validity are included.
 * @throws ERR_CERT_MISSING, ERR_CERT_COUNT: none, or more than one certificate.
 * @throws ERR_CERT_MALFORMED: not an X.509 v3 certificate in DER, or one with unique identifiers or
 *   an extension twice.
 * @throws ERR_CERT_NO_EXTENSION, ERR_CERT_EXTENSION_REPEATED, ERR_CERT_EXTENSION_MALFORMED: the
 *   libp2p Public Key Extension is missing, there twice, or not a SignedKey.
 * @throws ERR_CERT_UNKNOWN_CRITICAL: another extension is critical.
 * @throws ERR_CERT_NOT_YET_VALID, ERR_CERT_EXPIRED.
 * @throws ERR_CERT_ALGORITHM: key or signature algorithm is weak or unknown, or a curve unnamed.
 * @throws ERR_CERT_SELF_SIGNATURE: not signed by its own key.
 * @throws ERR_CERT_HOST_KEY: the extension's host key is malformed or of an unknown type.
 * @throws ERR_CERT_EXTENSION_SIGNATURE: the host key did not sign the certificate's key.
 * @throws ERR_PEER_ID_MISMATCH: the certificate is valid, but of another peer than `expected`.
 */
export const verifyCertificate = (
  chain: readonly Uint8Array[],
  expected?: PeerId,
  now: Date = new Date(),
): PeerId => verify(chain, expected, now, new Map());

/** The most certificates that a verifier remembers: in practice they take 200 KB at most. */
const REMEMBERED = 256;

/**
 * Makes a `verifyCertificate` that remembers the certificates it has accepted lately, so that the two signatures in a
 * returning peer's certificate need not be verified again. The period of validity and the expected peer are checked in
 * every call.
 */
export const createVerifier = (): typeof verifyCertificate => {
  const accepted = new Map<string, Accepted>();
  return (chain, expected, now = new Date()) => verify(chain, expected, now, accepted);
};

interface Accepted {
  readonly id: PeerId;
  readonly validity: Certificate['validity'];
}

/** @param accepted the accepted certificates, by their DER bytes as a latin1 string. */
const verify = (
  chain: readonly Uint8Array[],
  expected: PeerId | undefined,
  now: Date,
  accepted: Map<string, Accepted>,
): PeerId => {
  const der = onlyOne(chain);
  const bytes = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString('latin1');
  const known = accepted.get(bytes);
  if (known !== undefined) checkValidity(known.validity, now.getTime());
  const { id } = known ?? accept(der, now, bytes, accepted);
  if (expected !== undefined && !expected.equals(id)) {
    throw new LeanError('ERR_PEER_ID_MISMATCH', `expected peer ${expected}, found ${id}`);
  }
  return id;
};

/** Checks everything, and adds the result to `accepted` under `bytes`. */
const accept = (
  der: Uint8Array,
  now: Date,
  bytes: string,
  accepted: Map<string, Accepted>,
): Accepted => {
  const certificate = parsed(der);
  const signedKey = readExtensions(certificate.extensions);
  checkValidity(certificate.validity, now.getTime());
  checkSelfSignature(der, certificate);
  const id = authenticate(signedKey, certificate.subjectPublicKeyInfo);
  for (const oldest of accepted.keys()) {
    if (accepted.size < REMEMBERED) break;
    accepted.delete(oldest);
  }
  const outcome = { id, validity: certificate.validity };
  accepted.set(bytes, outcome);
  return outcome;
};

const onlyOne = (chain: readonly Uint8Array[]): Uint8Array => {
  const [der] = chain;
  if (der === undefined) throw refuse('MISSING', 'peer sent no certificate');
  if (chain.length > 1) throw refuse('COUNT', `peer sent ${chain.length} certificates, not one`);
  if (der.length > MAX_CERTIFICATE) {
    throw refuse('MALFORMED', `certificate of ${der.length} bytes, at most ${MAX_CERTIFICATE}`);
  }
  return der;
};

const parsed = (der: Uint8Array): Certificate => {
  try {
    return parseCertificate(der);
  } catch (cause) {
    throw refuse('MALFORMED', 'certificate is malformed', cause);
  }
};

const readExtensions = (extensions: readonly Extension[]): SignedKey => {
  const seen = new Set<string>();
  let value: Uint8Array | undefined;
  for (const extension of extensions) {
    const { oid, critical } = extension;
    const ours = oid === SIGNED_KEY;
    if (seen.has(oid)) {
      throw ours
        ? refuse('EXTENSION_REPEATED', 'certificate has two libp2p extensions')
        : refuse('MALFORMED', 'certificate has an extension twice');
    }
    seen.add(oid);
    if (ours) value = extension.value;
    else if (critical) {
      throw refuse('UNKNOWN_CRITICAL', `certificate has an unknown critical extension (${oid})`);
    }
  }
  if (value === undefined) throw refuse('NO_EXTENSION', 'certificate has no libp2p extension');
  try {
    return decodeSignedKey(value);
  } catch (cause) {
    throw refuse('EXTENSION_MALFORMED', 'libp2p extension is malformed', cause);
  }
};

const checkValidity = ({ notBefore, notAfter }: Certificate['validity'], now: number): void => {
  if (now < notBefore) {
    throw refuse('NOT_YET_VALID', `certificate is valid from ${new Date(notBefore).toISOString()}`);
  }
  // notAfter names the last second of validity, all of which counts.
  if (now >= notAfter + 1000) {
    throw refuse('EXPIRED', `certificate expired at ${new Date(notAfter).toISOString()}`);
  }
};

const checkSelfSignature = (der: Uint8Array, parsed: Certificate): void => {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(der);
    // Node looks for PEM first, anywhere in the bytes: make sure that it read what we read.
    if (!certificate.raw.equals(der)) throw new Error('not the certificate that was sent');
  } catch (cause) {
    throw refuse('MALFORMED', 'certificate is malformed', cause);
  }
  let key: KeyObject;
  try {
    key = certificate.publicKey;
  } catch (cause) {
    throw refuse('ALGORITHM', 'certificate key is malformed or of an unknown kind', cause);
  }
  checkAlgorithm(key, parsed);
  let valid = false;
  try {
    valid = certificate.verify(key);
  } catch {
    // Verification that throws counts as failed.
  }
  if (!valid) throw refuse('SELF_SIGNATURE', 'certificate is not signed by its own key');
};

/** Named curves only, no hash of less than 256 bits, keys as strong as host keys. */
const checkAlgorithm = (key: KeyObject, parsed: Certificate): void => {
  const kind = key.asymmetricKeyType;
  const wanted = signingKind(parsed.signatureAlgorithm);
  if (kind !== wanted) {
    const signature = wanted ?? 'an algorithm that is weak or unknown';
    throw refuse('ALGORITHM', `certificate key is ${kind}, its signature ${signature}`);
  }
  if (kind === 'ec' && !isOnNamedCurve(parsed.subjectPublicKeyInfo)) {
    throw refuse('ALGORITHM', 'certificate key is not on P-256, P-384 or P-521, given by name');
  }
  const fault = kind === 'rsa' ? faultOfRsa(key) : undefined;
  if (fault !== undefined) throw refuse('ALGORITHM', `certificate key is ${fault}`);
};

const isOnNamedCurve = (subjectPublicKeyInfo: Uint8Array): boolean => {
  try {
    const [algorithm] = readElements(readOne(subjectPublicKeyInfo, DER.SEQUENCE).content);
    const [, parameters] = readElements(expectTag(algorithm, DER.SEQUENCE).content);
    return CURVES.has(hex(expectTag(parameters, DER.OID).content));
  } catch {
    return false;
  }
};

/** The kind of key that signs with `algorithm`; undefined when the algorithm is not acceptable. */
const signingKind = (algorithm: DerElement): 'ec' | 'rsa' | 'ed25519' | undefined => {
  try {
    const [identifier, parameters] = readElements(algorithm.content);
    const oid = hex(expectTag(identifier, DER.OID).content);
    if (oid === RSASSA_PSS && !HASHES.has(pssHash(parameters))) return undefined;
    return SIGNATURE_ALGORITHMS.get(oid);
  } catch {
    return undefined;
  }
};

/** RFC 4055 section 3.1: `[0]` holds the hash's AlgorithmIdentifier; without it, it is SHA-1. */
const pssHash = (parameters: DerElement | undefined): string => {
  const [hash] = readElements(expectTag(parameters, DER.SEQUENCE).content);
  const [identifier] = readElements(
    readOne(expectTag(hash, contextTag(0)).content, DER.SEQUENCE).content,
  );
  return hex(expectTag(identifier, DER.OID).content);
};

const authenticate = (signedKey: SignedKey, subjectPublicKeyInfo: Uint8Array): PeerId => {
  let hostKey: PublicKey;
  try {
    hostKey = parsePublicKey(signedKey.publicKey);
  } catch (cause) {
    throw refuse('HOST_KEY', 'host key in the certificate is malformed or unknown', cause);
  }
  if (!verifySignature(hostKey, signedMessage(subjectPublicKeyInfo), signedKey.signature)) {
    throw refuse('EXTENSION_SIGNATURE', 'host key did not sign the certificate key');
  }
  return peerIdOf(hostKey);
};

type CertificateError = Extract<ErrorCode, `ERR_CERT_${string}`>;
type Refusal = CertificateError extends `ERR_CERT_${infer R}` ? R : never;

const refuse = (code: Refusal, message: string, cause?: unknown): LeanError =>
  new LeanError(`ERR_CERT_${code}`, message, cause === undefined ? undefined : { cause });
