/**
 * A write to a connection whose idle timeout is over, and which nobody has told yet, ends the process (24.21): as when the
 * event loop was late. `Stream::WriteStreamData` (src/quic/streams.cc) queues the bytes and sends what may be sent; sending
 * notices the timeout and ends the connection, and the stream, of whose queue Node then wants the length: SIGSEGV.
 *
 * So the two are done apart. While the bytes are queued, the stream is marked as one that waits to be opened, of which
 * Node sends nothing. Sending is then asked for by attaching a source that is none, after which Node looks at nothing.
 */

import { createHook } from 'node:async_hooks';
import { RUNTIME } from '../../runtime.ts';
import { KNOWN_MAJORS } from './finish-close.ts';

/** What the native side knows a stream as. */
const STREAM_HANDLE = 'QUIC_STREAM';
/** Where `Stream::State` has its flag `pending`, behind the id; bytes. */
const PENDING = 8;
/** Where it has how many bytes more may be written. */
const ROOM = 32;

/** The native side of a stream, and its methods. */
interface StreamHandle {
  /** The memory of `Stream::State`, of many streams, and where that of this one begins. */
  readonly state?: DataView;
  readonly stateByteOffset?: number;
}
interface StreamMethods {
  /** How many bytes await an acknowledgement; `undefined`: nothing was queued. */
  write(this: StreamHandle, chunks: readonly Uint8Array[]): number | undefined;
  attachSource(this: StreamHandle, source: undefined): void;
}

let done = false;

/**
 * Has all streams of this process written to like that, from the first on: called before there is a session. In a version of
 * Node.js (`24.21.0`) that is not known nothing is touched.
 */
export const guardWrites = (version = process.versions.node): void => {
  if (done) return;
  done = true;
  if (!RUNTIME.quicEndsProcess || !KNOWN_MAJORS.includes(Number.parseInt(version, 10))) return;
  const hook = createHook({
    init: (_id, type, _trigger, resource) => {
      if (type !== STREAM_HANDLE) return;
      hook.disable();
      guard(Object.getPrototypeOf(resource));
    },
  }).enable();
};

const guard = (methods: StreamMethods): void => {
  const { write, attachSource } = methods;
  if (typeof write !== 'function' || typeof attachSource !== 'function') return;
  /** Whether both are where we think they are; unknown before the first write. */
  let isKnown: boolean | undefined;
  methods.write = function (this: StreamHandle, chunks) {
    const { state, stateByteOffset } = this;
    if (state === undefined || stateByteOffset === undefined) return write.call(this, chunks);
    const pending = stateByteOffset + PENDING;
    const room = stateByteOffset + ROOM;
    isKnown ??= isLayoutKnown(this, state, pending, room);
    if (!isKnown || state.getUint8(pending) !== 0) return write.call(this, chunks);
    const before = state.getUint32(room, true);
    let queued: number | undefined;
    state.setUint8(pending, 1);
    try {
      queued = write.call(this, chunks);
    } finally {
      state.setUint8(pending, 0);
    }
    if (queued === undefined) return undefined;
    // For a stream that is not open Node leaves out what the peer's window allows.
    let bytes = 0;
    for (const { length } of chunks) bytes += length;
    const after = state.getUint32(room, true);
    state.setUint32(room, Math.min(after, Math.max(0, before - bytes)), true);
    attachSource.call(this, undefined);
    return queued;
  };
};

/** The JavaScript side of a stream. */
interface Owner {
  readonly pending: boolean;
  readonly writer: { readonly canWrite: boolean | null };
}

/**
 * Whether the stream of `handle`, which is open and has room, passes for one that is not while the byte at `pending` is set,
 * and for one that has no room while there is 0 at `room`.
 */
const isLayoutKnown = (
  handle: StreamHandle,
  state: DataView,
  pending: number,
  room: number,
): boolean => {
  const symbol = Object.getOwnPropertySymbols(handle).find(
    ({ description }) => description === 'kOwner',
  );
  if (symbol === undefined) return false;
  const stream = (handle as Record<symbol, Owner | undefined>)[symbol];
  if (stream?.pending !== false || stream.writer.canWrite !== true) return false;
  const flag = state.getUint8(pending);
  state.setUint8(pending, 1);
  const isPending = stream.pending as boolean;
  state.setUint8(pending, flag);
  const bytes = state.getUint32(room, true);
  state.setUint32(room, 0, true);
  const hasRoom = stream.writer.canWrite as boolean | null;
  state.setUint32(room, bytes, true);
  return flag === 0 && isPending && hasRoom === false;
};
