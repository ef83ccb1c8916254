/** What users of the package import. */

export type { Multiaddr } from '@multiformats/multiaddr';
export { type CloseReason, describeClose } from './close-reason.ts';
export type {
  Connection,
  ProtocolStream,
  Role,
  TransportConnection,
} from './connection.ts';
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
export type { DialOptions } from './node/dialing.ts';
export type { NodeEvent, NodeEvents, NodeEventTarget } from './node/events.ts';
export { DEFAULT_NODE_LIMITS, type NodeLimits } from './node/limits.ts';
export type { Listener } from './node/listener.ts';
export { createNode, type LeanNode, type NodeOptions } from './node/node.ts';
export type { StreamHandler } from './node/protocols.ts';
export {
  IDENTIFY,
  type IdentifyInfo,
  type IdentifyOptions,
  identify,
} from './protocols/identify.ts';
export {
  handlePerf,
  PERF,
  type PerfOptions,
  type PerfProgress,
  type PerfResult,
  perf,
} from './protocols/perf.ts';
export { PING, type PingOptions, ping } from './protocols/ping.ts';
export { readExactly, writeAll } from './stream/bytes.ts';
export { type Stream, StreamResetError } from './stream.ts';
export {
  type QuicOptions,
  quic,
  type StreamTransportOptions,
  tcp,
  type WebSocketOptions,
  websocket,
} from './transports/factories.ts';
export type {
  Transport,
  TransportContext,
  TransportFactory,
  TransportListener,
} from './transports/transport.ts';
