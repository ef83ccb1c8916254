/**
 * A stream of `node:quic` that ends while it is being opened ends the process (24.21). When the event loop
 * was late, `openStream()` notices that the connection has timed out, and tells the new stream of it before
 * that has its owner: a TypeError in Node's own callback, which nobody can catch.
 */

import { createHook } from 'node:async_hooks';
import { KNOWN_MAJORS } from './finish-close.ts';
import type { NodeQuicStream } from './types.ts';

/** What the native side knows a stream as; `kOwner` is Node's symbol for the `QuicStream` of it. */
const STREAM_HANDLE = 'QUIC_STREAM';

type Symbols = Record<symbol, unknown>;

/** Once in a process, which has one prototype of stream handles. */
let done = false;

const doNothing = (): void => {};

/** Stands for a stream that nobody has yet: each of its callbacks does nothing. */
const nobody = (stream: NodeQuicStream): object => {
  const owner: Record<string | symbol, unknown> = { destroyed: true };
  const prototype: Symbols = Object.getPrototypeOf(stream);
  for (const symbol of Object.getOwnPropertySymbols(prototype)) {
    const method = Object.getOwnPropertyDescriptor(prototype, symbol)?.value;
    if (typeof method === 'function') owner[symbol] = doNothing;
  }
  return owner;
};

/**
 * `open()`, which opens a stream. The first time in a process, all further streams get an owner from the
 * start, so that one which ends at once is refused like any other on a closed connection. In a version of
 * Node.js (`24.21.0`) that is not known nothing is touched.
 */
export const withFirstOwner = (
  open: () => Promise<NodeQuicStream>,
  version = process.versions.node,
): Promise<NodeQuicStream> =>
  done || !KNOWN_MAJORS.includes(Number.parseInt(version, 10)) ? open() : openFirst(open);

const openFirst = async (open: () => Promise<NodeQuicStream>): Promise<NodeQuicStream> => {
  let handle: Symbols | undefined;
  const hook = createHook({
    init: (_id, type, _trigger, resource) => {
      if (type === STREAM_HANDLE) handle = resource as Symbols;
    },
  }).enable();
  const opening = open();
  hook.disable();
  const stream = await opening;
  done ||= handle === undefined || giveOwner(handle, stream);
  return stream;
};

/** @returns whether there was nothing to do, or it is done. */
const giveOwner = (handle: Symbols, stream: NodeQuicStream): boolean => {
  const symbol = Object.getOwnPropertySymbols(handle).find(
    ({ description }) => description === 'kOwner',
  );
  // It ended at once, or this version keeps its owner elsewhere.
  if (symbol === undefined || handle[symbol] !== stream) return false;
  const prototype: Symbols = Object.getPrototypeOf(handle);
  Object.defineProperty(prototype, symbol, { value: nobody(stream), writable: true });
  return true;
};
