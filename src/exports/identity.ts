/** `libp2p-lean/identity`: host keys and peer ids. */

export { type ErrorCode, isLeanError, LeanError } from '../errors.ts';
export {
  generateHostKey,
  type HostKey,
  hostKeyFromSeed,
  type KeyType,
  type PublicKey,
  parsePublicKey,
  type SigningKey,
  verifySignature,
} from '../identity/keys.ts';
export {
  type PeerId,
  parsePeerId,
  peerIdFromMultihash,
  peerIdOf,
  peerIdToCid,
} from '../identity/peer-id.ts';
