/** What users of the package import. */

export type { Multiaddr } from '@multiformats/multiaddr';
export type { AdmissionLimits } from './admission.ts';
export { type CloseReason, describeClose } from './close-reason.ts';
export type {
  AuthenticatedConnection,
  Circuit,
  CircuitLimit,
  Connection,
  NewStreamOptions,
  ProtocolStream,
  Role,
  TransportConnection,
} from './connection.ts';
export type { ConnectionMemory, MemoryLimits } from './connection-memory.ts';
export type { ConnectionStats } from './connection-stats.ts';
export { type ErrorCode, isLeanError, LeanError } from './errors.ts';
export {
  generateHostKey,
  type HostKey,
  hostKeyFromSeed,
  type KeyType,
  type PublicKey,
  type SigningKey,
} from './identity/keys.ts';
export { type PeerId, parsePeerId, peerIdOf, peerIdToCid } from './identity/peer-id.ts';
export { parseMultiaddr, reachableAddresses } from './multiaddr.ts';
export type { MuxLimits } from './mux/mux-limits.ts';
export type { MuxerName } from './mux/muxer.ts';
export { type AutonatLimits, DEFAULT_AUTONAT_LIMITS } from './node/autonat-limits.ts';
export type { DialOptions } from './node/dialing.ts';
export type { NodeEvent, NodeEvents, NodeEventTarget, StreamDetail } from './node/events.ts';
export { DEFAULT_HOLE_PUNCH_LIMITS, type HolePunchLimits } from './node/hole-punch-limits.ts';
export { DEFAULT_NODE_LIMITS, type NodeLimits } from './node/limits.ts';
export type { Listener } from './node/listener.ts';
export type { PortMapping } from './node/mapped-port.ts';
export type {
  MetricCounter,
  MetricHistogram,
  MetricLabels,
  MetricOptions,
  MetricsRegistry,
} from './node/metrics.ts';
export type { NatOptions, ReachabilityPolicy } from './node/nat.ts';
export { createNode, type LeanNode, type NodeOptions } from './node/node.ts';
export type { HandleOptions, StreamHandler } from './node/protocols.ts';
export type { Reachability, ReachabilityStatus } from './node/reachability-status.ts';
export { DEFAULT_RELAY_LIMITS, type RelayLimits } from './node/relay-limits.ts';
export type { PendingPool, PoolMember, PoolPlace } from './pending-pool.ts';
export {
  IDENTIFY,
  IDENTIFY_PUSH,
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
export type { QuicTrace } from './quic/engine.ts';
export { ENGINE_NAMES, type EngineChoice, type EngineName } from './quic/engine-name.ts';
export type { QuicLimits } from './quic/limits.ts';
export type { SecureChannelName } from './secure/secure-channel.ts';
export { readExactly, writeAll } from './stream/bytes.ts';
export { type Stream, StreamResetError } from './stream.ts';
export type { TlsCredentials } from './tls/credentials.ts';
export type { TlsIdentity } from './tls/issue.ts';
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
  TransportDialOptions,
  TransportEvents,
  TransportFactory,
  TransportLimits,
  TransportListener,
  TransportListenOptions,
} from './transports/transport.ts';
export type { UpgradeLimits } from './transports/upgrade-limits.ts';
