/**
 * Two connected in-memory streams, for unit tests of protocols. They keep the contract of `Stream`;
 * delivery takes a turn of the event loop, as on a socket.
 */

import { LeanError } from '../../src/errors.ts';
import { iterate } from '../../src/stream/iterate.ts';
import { type Stream, StreamResetError } from '../../src/stream.ts';

export interface PairOptions {
  /** Bytes on their way before `write()` returns false. */
  readonly highWater?: number;
  /**
   * How written chunks arrive: `as-written`; `coalesced`, those of one turn as one chunk;
   * `bytewise`, one byte at a time.
   */
  readonly delivery?: 'as-written' | 'coalesced' | 'bytewise';
}

export interface TestStream extends Stream {
  /** For each turn of the event loop in which bytes left: those bytes. */
  readonly flights: Uint8Array[];
  /** What was done to this end, for assertions. */
  readonly did: { closedWrite: boolean; stopped: number | undefined; reset: number | undefined };
}

export const streamPair = (options: PairOptions = {}): [TestStream, TestStream] => {
  const a = makeEnd('dialer', options);
  const b = makeEnd('listener', options);
  a.connect(b);
  b.connect(a);
  return [a.stream, b.stream];
};

interface End {
  readonly stream: TestStream;
  connect(other: End): void;
  deliver(chunks: readonly Uint8Array[], end: boolean): void;
  peerReset(code: number): void;
  peerStopped(code: number): void;
  taken(bytes: number): void;
}

const makeEnd = (
  id: string,
  { highWater = 1 << 20, delivery = 'as-written' }: PairOptions,
): End => {
  const inbox: Uint8Array[] = [];
  const putBack: Uint8Array[] = [];
  const outbox: Uint8Array[] = [];
  const flights: Uint8Array[] = [];
  const did: TestStream['did'] = { closedWrite: false, stopped: undefined, reset: undefined };
  let other: End | undefined;
  let ended = false;
  let readError: Error | undefined;
  let writeError: Error | undefined;
  let reader: { resolve: (c: Uint8Array | null) => void; reject: (e: Error) => void } | undefined;
  const drainers: { resolve: () => void; reject: (e: Error) => void }[] = [];
  let inFlight = 0;
  let scheduled = false;

  const pump = (): void => {
    if (reader === undefined) return;
    const { resolve, reject } = reader;
    const again = putBack.pop();
    const chunk = again ?? inbox.shift();
    if (chunk === undefined && readError === undefined && !ended) return;
    reader = undefined;
    if (chunk !== undefined) {
      if (again === undefined) other?.taken(chunk.length);
      resolve(chunk);
    } else if (readError !== undefined) reject(readError);
    else resolve(null);
  };
  const failWrites = (error: Error): void => {
    writeError ??= error;
    for (const { reject } of drainers.splice(0)) reject(writeError);
  };
  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      const chunks = outbox.splice(0);
      if (chunks.length > 0) flights.push(Buffer.concat(chunks));
      if (did.reset === undefined) other?.deliver(arrive(chunks), did.closedWrite);
    });
  };
  const arrive = (chunks: readonly Uint8Array[]): readonly Uint8Array[] => {
    if (delivery === 'as-written' || chunks.length === 0) return chunks;
    const all = Buffer.concat(chunks);
    if (delivery === 'coalesced') return [all];
    return Array.from(all, (_, i) => all.subarray(i, i + 1));
  };

  const stream: TestStream = {
    id,
    flights,
    did,
    read: () => {
      if (reader !== undefined) throw new Error('two reads at a time');
      return new Promise((resolve, reject) => {
        reader = { resolve, reject };
        pump();
      });
    },
    unread: (chunk) => {
      if (chunk.length > 0) putBack.push(chunk);
    },
    write: (chunk) => {
      if (writeError !== undefined) throw writeError;
      if (did.closedWrite) throw new LeanError('ERR_STREAM_CLOSED', 'write after closeWrite');
      if (chunk.length === 0) return true;
      outbox.push(chunk);
      inFlight += chunk.length;
      schedule();
      return inFlight < highWater;
    },
    drain: () => {
      if (writeError !== undefined) return Promise.reject(writeError);
      if (inFlight < highWater) return Promise.resolve();
      return new Promise((resolve, reject) => drainers.push({ resolve, reject }));
    },
    closeWrite: () => {
      if (did.closedWrite) return;
      did.closedWrite = true;
      schedule();
    },
    stopSending: (code = 0) => {
      if (did.stopped !== undefined) return;
      did.stopped = code;
      inbox.length = 0;
      setImmediate(() => other?.peerStopped(code));
    },
    [Symbol.asyncIterator]: () => iterate(stream),
    reset: (code = 0) => {
      if (did.reset !== undefined) return;
      did.reset = code;
      outbox.length = 0;
      inbox.length = 0;
      readError = new StreamResetError('ERR_STREAM_RESET', code, 'reset by this side', 'local');
      failWrites(new LeanError('ERR_STREAM_CLOSED', 'reset by this side'));
      pump();
      setImmediate(() => other?.peerReset(code));
    },
  };
  return {
    stream,
    connect: (end) => {
      other = end;
    },
    deliver: (chunks, end) => {
      if (did.stopped === undefined && readError === undefined) inbox.push(...chunks);
      if (end) ended = true;
      pump();
    },
    peerReset: (code) => {
      if (!ended) {
        inbox.length = 0;
        readError ??= new StreamResetError('ERR_STREAM_RESET', code, 'reset by the peer');
      }
      failWrites(new StreamResetError('ERR_STREAM_STOPPED', code, 'reset by the peer'));
      pump();
    },
    peerStopped: (code) => {
      failWrites(new StreamResetError('ERR_STREAM_STOPPED', code, 'stopped by the peer'));
    },
    taken: (bytes) => {
      inFlight -= bytes;
      if (inFlight < highWater) for (const { resolve } of drainers.splice(0)) resolve();
    },
  };
};
