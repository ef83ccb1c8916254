/**
 * A queue of bytes, kept as chunks. Chunks are kept by reference, unless that would keep alive much more
 * memory than their bytes: a chunk may be a small view of a large buffer.
 */

/** Shorter chunks are gathered in blocks: a `Uint8Array` of its own would cost more than their bytes. */
const SMALL = 1024;
/** The largest block, bytes. */
const BLOCK = 8192;
/** The smallest block, bytes. */
const FIRST_BLOCK = 512;
/** A chunk is copied if its buffer is more than this many times as long. */
const WASTE = 4;

export class ByteQueue {
  /** The number of queued bytes. */
  bytes = 0;
  readonly #chunks: Uint8Array[] = [];
  /** Bytes of the first chunk that were dropped already. */
  #dropped = 0;
  /** The block that the last chunk is a view of, if there may be room behind it. */
  #block: Uint8Array | undefined;
  /** Bytes of the block that are in use. */
  #blockUsed = 0;

  /** Puts `chunk` behind all others. */
  push(chunk: Uint8Array): void {
    const { length } = chunk;
    if (length === 0) return;
    const waiting = this.bytes;
    this.bytes += length;
    if (length >= SMALL) {
      this.#block = undefined;
      this.#chunks.push(compact(chunk));
    } else if (waiting === 0) {
      // It will probably be taken before the next chunk arrives.
      this.#chunks.push(compact(chunk));
    } else {
      this.#gather(chunk, waiting);
    }
  }

  /** Copies `chunk` behind the last one. @param waiting bytes queued before it. */
  #gather(chunk: Uint8Array, waiting: number): void {
    const { length } = chunk;
    const last = this.#chunks.length - 1;
    const tail = this.#chunks[last];
    const block = this.#block;
    if (block === undefined || tail === undefined || this.#blockUsed + length > block.length) {
      // As large as what is queued already: at most half of the memory is unused.
      const size = Math.max(length, Math.min(BLOCK, Math.max(FIRST_BLOCK, waiting)));
      const fresh = new Uint8Array(size);
      fresh.set(chunk);
      this.#block = fresh;
      this.#blockUsed = length;
      this.#chunks.push(fresh.subarray(0, length));
      return;
    }
    block.set(chunk, this.#blockUsed);
    this.#blockUsed += length;
    const start = tail.byteOffset;
    this.#chunks[last] = new Uint8Array(block.buffer, start, this.#blockUsed - start);
  }

  /** The first chunk, which stays in the queue; `undefined` if the queue is empty. */
  first(): Uint8Array | undefined {
    const chunk = this.#chunks[0];
    return this.#dropped === 0 ? chunk : chunk?.subarray(this.#dropped);
  }

  /** Removes the first chunk and returns it; `undefined` if the queue is empty. */
  shift(): Uint8Array | undefined {
    const chunk = this.first();
    if (chunk !== undefined) this.drop(chunk.length);
    return chunk;
  }

  /** The first `length` bytes, or all if there are fewer, as chunks. They stay in the queue. */
  front(length: number): Uint8Array[] {
    const out: Uint8Array[] = [];
    let skip = this.#dropped;
    let wanted = length;
    for (let index = 0; wanted > 0 && index < this.#chunks.length; index++) {
      const chunk = this.#chunks[index] as Uint8Array;
      const size = Math.min(chunk.length - skip, wanted);
      out.push(size === chunk.length ? chunk : chunk.subarray(skip, skip + size));
      wanted -= size;
      skip = 0;
    }
    return out;
  }

  /** Removes the first `length` bytes. @param length at most `bytes`. */
  drop(length: number): void {
    this.bytes -= length;
    let left = length;
    while (left > 0) {
      const rest = (this.#chunks[0] as Uint8Array).length - this.#dropped;
      if (rest > left) {
        this.#dropped += left;
        return;
      }
      this.#chunks.shift();
      this.#dropped = 0;
      left -= rest;
    }
    if (this.#chunks.length === 0) this.#block = undefined;
  }

  /** Puts `chunk` before all others. */
  unshift(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    if (this.#dropped > 0) {
      this.#chunks[0] = (this.#chunks[0] as Uint8Array).subarray(this.#dropped);
      this.#dropped = 0;
    }
    this.#chunks.unshift(compact(chunk));
    this.bytes += chunk.length;
  }

  /** Removes all bytes. */
  clear(): void {
    this.#chunks.length = 0;
    this.#dropped = 0;
    this.#block = undefined;
    this.bytes = 0;
  }
}

/** `chunk`, or a copy if its buffer is much longer. */
const compact = (chunk: Uint8Array): Uint8Array => {
  const { length } = chunk;
  const { byteLength } = chunk.buffer;
  if (byteLength <= BLOCK / 2 || byteLength <= WASTE * length) return chunk;
  // Not `slice()`: that of a Buffer is a view.
  return new Uint8Array(chunk);
};
