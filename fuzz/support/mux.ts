/** A muxer that reads a fuzzer's frames: what yamux and mplex have in common. */

import type { CreateMuxer } from '../../src/mux/muxer.ts';
import type { Stream } from '../../src/stream.ts';
import { check, expected } from './expect.ts';
import { chunksOf, pipeOf } from './pipe.ts';

const LIMITS = {
  maxStreams: 16,
  acceptBacklog: 8,
  streamBuffer: 1 << 12,
  connectionMemory: 1 << 20,
};

/**
 * Accepts what the peer opens, with one stream of our own beside. Bit 7 of the first byte: the dialer's side,
 * bit 6: streams are not read.
 */
export const fuzzMuxer = async (create: CreateMuxer, data: Uint8Array): Promise<void> => {
  const mode = data[0] ?? 0;
  const input = Uint8Array.from(data);
  if (input.length > 0) input[0] = mode & 0x3f;
  const pipe = pipeOf(chunksOf(input));
  const muxer = create(
    { stream: pipe, close: () => pipe.close() },
    (mode & 0x80) === 0 ? 'listener' : 'dialer',
    LIMITS,
  );
  const reads: Promise<void>[] = [];
  const use = async (stream: Stream): Promise<void> => {
    try {
      if ((mode & 0x40) !== 0) return;
      stream.write(Uint8Array.of(1, 2, 3));
      for await (const chunk of stream) check(chunk.length > 0, 'no chunk is empty');
      stream.closeWrite();
    } catch (error) {
      expected(error, 'ERR_STREAM_', 'ERR_CONNECTION_CLOSED', 'ERR_PROTOCOL_VIOLATION');
    }
  };
  // The carrier may end before it is open.
  reads.push(
    muxer
      .openStream()
      .then(use, (error) => expected(error, 'ERR_CONNECTION_CLOSED', 'ERR_PROTOCOL_VIOLATION')),
  );
  for (
    let stream = await muxer.acceptStream();
    stream !== null;
    stream = await muxer.acceptStream()
  ) {
    reads.push(use(stream));
  }
  await Promise.all(reads);
  await muxer.close();
  await muxer.closed;
  const { held, limit } = muxer.memory;
  check(held <= limit, 'no more is held than the limit');
};
