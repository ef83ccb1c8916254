/**
 * `libp2p-lean/js-libp2p`: a QUIC transport for js-libp2p 3, `createLibp2p({ transports: [quic()] })`. Its
 * `libp2p` brings what this loads of js-libp2p.
 */

export type { AdmissionLimits } from '../admission.ts';
export type { MemoryLimits } from '../connection-memory.ts';
export type { QuicComponents, QuicOptions } from '../js-libp2p/options.ts';
export { quic } from '../js-libp2p/transport.ts';
export type { QuicTrace } from '../quic/engine.ts';
export { ENGINE_NAMES, type EngineChoice, type EngineName } from '../quic/engine-name.ts';
export type { QuicLimits } from '../quic/limits.ts';
