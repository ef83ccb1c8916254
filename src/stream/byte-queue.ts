/**
 * A queue of bytes, kept as chunks. Chunks are kept by reference, unless that would keep much more
 * memory than they have bytes: a chunk may be a small part of a large buffer, all of which lives as
 * long as the chunk does.
 */

/** Shorter chunks are gathered in blocks: each would cost more than its bytes. */
const SMALL = 1024;
/** The largest block. */
const BLOCK = 8192;
/** The smallest. */
const FIRST_BLOCK = 512;
/** A chunk is copied if its buffer is longer than it by more than this factor. */
const WASTE = 4;

export class ByteQueue {
  /** The number of bytes. */
  bytes = 0;
  readonly #chunks: Uint8Array[] = [];
  /** Bytes of the first chunk that were dropped already. */
  #dropped = 0;
  /** Where the last chunk is, if more fits behind it. */
  #block: Uint8Array | undefined;
  #blockUsed = 0;

  push(chunk: Uint8Array): void {
    const { length } = chunk;
    if (length === 0) return;
    const waiting = this.bytes;
    this.bytes += length;
    if (length >= SMALL) {
      this.#block = undefined;
      this.#chunks.push(compact(chunk));
    } else if (waiting === 0) {
      // Alone, it will probably be gone before the next one comes.
      this.#chunks.push(compact(chunk));
    } else {
      this.#gather(chunk, waiting);
    }
  }

  #gather(chunk: Uint8Array, waiting: number): void {
    const { length } = chunk;
    const last = this.#chunks.length - 1;
    const tail = this.#chunks[last];
    const block = this.#block;
    if (block === undefined || tail === undefined || this.#blockUsed + length > block.length) {
      // As large as what is queued already, so that little is wasted.
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

  /** The first chunk, which stays; `undefined`: there is none. */
  first(): Uint8Array | undefined {
    const chunk = this.#chunks[0];
    return this.#dropped === 0 ? chunk : chunk?.subarray(this.#dropped);
  }

  /** Takes the first chunk. */
  shift(): Uint8Array | undefined {
    const chunk = this.first();
    if (chunk !== undefined) this.drop(chunk.length);
    return chunk;
  }

  /** The first `length` bytes, at most all, chunk by chunk; they stay. */
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

  /** Throws away the first `length` bytes, of which there must be as many. */
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

  clear(): void {
    this.#chunks.length = 0;
    this.#dropped = 0;
    this.#block = undefined;
    this.bytes = 0;
  }
}

/** The chunk, or a copy if its buffer is much longer. */
const compact = (chunk: Uint8Array): Uint8Array => {
  const { length } = chunk;
  const { byteLength } = chunk.buffer;
  if (byteLength <= BLOCK / 2 || byteLength <= WASTE * length) return chunk;
  // Not `slice()`: that of a Buffer is a view.
  return new Uint8Array(chunk);
};
