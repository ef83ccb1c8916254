/** `libp2p-lean/web-streams`: a stream as a pair of Web Streams. */

export { toWebStreams, type WebStreams } from '../stream/web-streams.ts';
export { type Stream, StreamResetError } from '../stream.ts';
