/** `libp2p-lean/noise`: the Noise secure channel over any wire, such as a TCP socket. */

export type { Role } from '../connection.ts';
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
export {
  createNoiseIdentity,
  NOISE,
  type NoiseIdentity,
  secureWithNoise,
} from '../secure/noise.ts';
export type { NoiseKeyPair } from '../secure/noise-state.ts';
export type { SecureChannel, SecureOptions } from '../secure/secure-channel.ts';
export { type Stream, StreamResetError } from '../stream.ts';
export { socketWire } from '../wire/socket-wire.ts';
export type { Wire } from '../wire/wire.ts';
