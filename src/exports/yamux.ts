/** `libp2p-lean/yamux`: the muxer yamux over any wire, such as a TCP socket. */

export { type CloseReason, describeClose } from '../close-reason.ts';
export type { Role } from '../connection.ts';
export type { ConnectionMemory, MemoryLimits } from '../connection-memory.ts';
export { type ErrorCode, isLeanError, LeanError } from '../errors.ts';
export { DEFAULT_MUX_LIMITS, type MuxLimits } from '../mux/mux-limits.ts';
export type { Carrier, CreateMuxer, Muxer } from '../mux/muxer.ts';
export { createYamux, YAMUX } from '../mux/yamux.ts';
export { type Stream, StreamResetError } from '../stream.ts';
export { socketWire } from '../wire/socket-wire.ts';
export type { Wire } from '../wire/wire.ts';
