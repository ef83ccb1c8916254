/**
 * `libp2p-lean/tls`: issues and verifies libp2p's certificates, for any TLS or QUIC stack. The host keys that
 * sign them are exported, too.
 */

export { type ErrorCode, isLeanError, LeanError } from '../errors.ts';
export {
  generateHostKey,
  type HostKey,
  hostKeyFromSeed,
  type KeyType,
  type PublicKey,
  type SigningKey,
} from '../identity/keys.ts';
export { type PeerId, parsePeerId, peerIdOf } from '../identity/peer-id.ts';
export type { TlsCredentials } from '../tls/credentials.ts';
export { issueCertificate, type TlsIdentity } from '../tls/issue.ts';
export {
  decodeSignedKey,
  EXTENSION_OID,
  encodeSignedKey,
  type SignedKey,
  signedMessage,
} from '../tls/signed-key.ts';
export { createVerifier, verifyCertificate } from '../tls/verify.ts';
