/** `libp2p-lean/web-streams`: a stream as a pair of Web Streams. */

export { type ErrorCode, isLeanError, LeanError } from '../errors.ts';
export { toWebStreams, type WebStreams } from '../stream/web-streams.ts';
export { type Stream, StreamResetError } from '../stream.ts';
