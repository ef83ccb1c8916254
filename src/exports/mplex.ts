/** `libp2p-lean/mplex`: the muxer mplex (deprecated by libp2p, for old peers) over any wire, such as a TCP socket. */

export { type CloseReason, describeClose } from '../close-reason.ts';
export type { Role } from '../connection.ts';
export type { ConnectionMemory, MemoryLimits } from '../connection-memory.ts';
export { type ErrorCode, isLeanError, LeanError } from '../errors.ts';
export { createMplex, MPLEX } from '../mux/mplex.ts';
export { DEFAULT_MUX_LIMITS, type MuxLimits } from '../mux/mux-limits.ts';
export type { Carrier, CreateMuxer, Muxer } from '../mux/muxer.ts';
export { type Stream, StreamResetError } from '../stream.ts';
export { socketWire } from '../wire/socket-wire.ts';
export type { Wire } from '../wire/wire.ts';
