/** `libp2p-lean/multistream`: multistream-select 1.0 over any stream. */

export type { ProtocolStream } from '../connection.ts';
export { type ErrorCode, isLeanError, LeanError } from '../errors.ts';
export { MULTISTREAM, negotiate, select, selectLazily } from '../multistream.ts';
export { type Stream, StreamResetError } from '../stream.ts';
export { socketWire } from '../wire/socket-wire.ts';
export type { Wire } from '../wire/wire.ts';
