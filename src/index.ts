/** What users of the package import. */

// biome-ignore-all lint/performance/noBarrelFile: the package's one public entry; nothing here imports it

export type { Multiaddr } from '@multiformats/multiaddr';
export { type CloseReason, type Connection, describeClose } from './connection.ts';
export { type ErrorCode, isLeanError, LeanError } from './errors.ts';
export {
  generateHostKey,
  type HostKey,
  hostKeyFromSeed,
  type KeyType,
  type PublicKey,
} from './identity/keys.ts';
export { type PeerId, parsePeerId, peerIdOf, peerIdToCid } from './identity/peer-id.ts';
export { parseMultiaddr, reachableAddresses } from './multiaddr.ts';
export { DEFAULT_NODE_LIMITS, type NodeLimits } from './node/limits.ts';
export { createNode, type LeanNode, type NodeOptions, type StreamHandler } from './node/node.ts';
export { IDENTIFY, type IdentifyInfo, identify } from './protocols/identify.ts';
export {
  handlePerf,
  PERF,
  type PerfOptions,
  type PerfProgress,
  type PerfResult,
  perf,
} from './protocols/perf.ts';
export { PING, ping } from './protocols/ping.ts';
export { readExactly, type Stream, StreamResetError, writeAll } from './stream.ts';
