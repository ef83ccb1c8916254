/** One end of a byte stream in memory, for parsers that read from streams: everything has come already. */

import { LeanError } from '../../src/errors.ts';
import { iterate } from '../../src/stream/iterate.ts';
import type { Wire } from '../../src/wire/wire.ts';

export interface Pipe extends Wire {
  /** What was written to it. */
  readonly written: readonly Uint8Array[];
}

/**
 * Yields `chunks`, each asked for when it is read, and then the end; takes what is written until it is closed
 * or reset.
 */
export const pipeOf = (chunks: Iterable<Uint8Array>): Pipe => {
  const coming = chunks[Symbol.iterator]();
  const putBack: Uint8Array[] = [];
  const written: Uint8Array[] = [];
  let failure: LeanError | undefined;
  let writeEnded = false;
  let stopped = false;
  const end = (): void => {
    failure ??= new LeanError('ERR_CONNECTION_CLOSED', 'closed');
    putBack.length = 0;
    stopped = true;
  };
  const pipe: Pipe = {
    id: 'fuzz',
    written,
    read: async () => {
      if (failure !== undefined) throw failure;
      const back = putBack.pop();
      if (back !== undefined) return back;
      const next = stopped ? undefined : coming.next();
      return next === undefined || next.done === true ? null : next.value;
    },
    unread: (chunk) => {
      if (chunk.length > 0) putBack.push(chunk);
    },
    write: (chunk) => {
      if (failure !== undefined) throw failure;
      if (writeEnded) throw new LeanError('ERR_STREAM_CLOSED', 'closed');
      written.push(chunk);
      return true;
    },
    drain: async () => {
      if (failure !== undefined) throw failure;
    },
    closeWrite: () => {
      writeEnded = true;
    },
    stopSending: () => {
      putBack.length = 0;
      stopped = true;
    },
    reset: end,
    close: async () => end(),
    [Symbol.asyncIterator]: () => iterate(pipe),
  };
  return pipe;
};

/**
 * An input as the chunks that arrive: its first byte says how long they are, 0: all at once. A stream tells
 * nothing of where its writer's chunks ended, so a parser must not care.
 */
export const chunksOf = (data: Uint8Array): Uint8Array[] => {
  const [size = 0] = data;
  const bytes = data.subarray(1);
  if (bytes.length === 0) return [];
  if (size === 0) return [bytes];
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
  return chunks;
};

/** `bytes` as such an input. */
export const inChunks = (size: number, ...bytes: readonly Uint8Array[]): Uint8Array =>
  Uint8Array.from(Buffer.concat([Uint8Array.of(size), ...bytes]));
