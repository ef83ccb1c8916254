/**
 * `libp2p-lean/quic`: QUIC v1 with mutual TLS 1.3, several engines behind one interface. The caller
 * decides which certificates are valid.
 */

export type { AdmissionLimits } from '../admission.ts';
export { type CloseReason, describeClose } from '../close-reason.ts';
export type { Role } from '../connection.ts';
export type { ConnectionMemory, MemoryLimits } from '../connection-memory.ts';
export type { ConnectionStats } from '../connection-stats.ts';
export { type ErrorCode, isLeanError, LeanError } from '../errors.ts';
export {
  createPendingPool,
  type PendingPool,
  type PoolMember,
  type PoolPlace,
} from '../pending-pool.ts';
export type {
  Authenticate,
  DialOptions,
  EngineOptions,
  ListenOptions,
  QuicConnection,
  QuicEngine,
  QuicListener,
  QuicTrace,
} from '../quic/engine.ts';
export {
  ENGINE_CHOICES,
  ENGINE_NAMES,
  type EngineChoice,
  type EngineName,
} from '../quic/engine-name.ts';
export { DEFAULT_LIMITS, type QuicLimits } from '../quic/limits.ts';
export { type SelectedEngine, selectEngine } from '../quic/select.ts';
export type { SocketAddress } from '../socket-address.ts';
export { type Stream, StreamResetError } from '../stream.ts';
export type { TlsCredentials } from '../tls/credentials.ts';
