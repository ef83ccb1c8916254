/** A bidirectional stream of quinn; `Stream`'s contract. */

import { type ConnectionMemory, STREAM_RESOURCE_LIMIT_EXCEEDED } from '../../connection-memory.ts';
import { LeanError } from '../../errors.ts';
import { ByteQueue } from '../../stream/byte-queue.ts';
import type { StallWatch, WaitingWriter } from '../../stream/stall-watch.ts';
import { type Stream, StreamResetError } from '../../stream.ts';
import { BLOCKED, EOF, type QuinnBinding, RESET } from './binding.ts';
import type { Driver, StreamEvents } from './driver.ts';

/** Bytes that wait for room in quinn above which a writer should wait. */
const HIGH_WATER = 64 << 10;
/** A writer that never has to wait is told to all the same, once in so many bytes. */
const BURST = 1 << 20;
/** So much is not kept until the end of the turn. */
const FLUSH_AT = 16 << 10;
/** Reads that are not given memory read into pieces of this. */
const SLAB = 256 << 10;
/** A rest of the slab that is too small to read into. */
const SLAB_MIN = 64 << 10;
/** A shorter chunk is copied out of the slab, so that it does not keep that in memory. */
const COPY_BELOW = 16 << 10;
/** Waiting chunks are put together up to this, to save calls. */
const JOIN = 64 << 10;

/** What a stream needs of its connection. */
export interface StreamOwner {
  readonly memory: ConnectionMemory;
  readonly stalls: StallWatch;
  /** quinn has no room for what this stream writes, or has again. */
  setBlocked(stream: QuinnStream, blocked: boolean): void;
  /** Both directions have ended. */
  forget(stream: QuinnStream): void;
  /** A call of the binding panicked. */
  broken(error: unknown): void;
  /** Why streams fail when the connection has ended; makes sure that it knows. */
  lost(): LeanError;
}

interface Reader {
  readonly resolve: (chunk: Uint8Array | null) => void;
  readonly reject: (error: Error) => void;
  readonly into: Uint8Array | undefined;
}

interface Drainer {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class QuinnStream implements Stream, StreamEvents, WaitingWriter {
  readonly id: string;
  /** Its number in the binding. */
  readonly handle: number;
  readonly #native: QuinnBinding;
  readonly #engine: number;
  readonly #driver: Driver;
  readonly #owner: StreamOwner;

  /** Where it is counted: until both directions have ended. */
  #memory: ConnectionMemory | undefined;
  /** Chunks to be read first: put back, or saved when the connection ended. */
  readonly #kept = new ByteQueue();
  /** The peer's FIN was read, or reading failed; nothing more comes from quinn. */
  #readEnded = false;
  #readError: Error | undefined;
  #reader: Reader | undefined;

  readonly #pending = new ByteQueue();
  /** Bytes that quinn took, which takes as many as the peer's windows and its own allow. */
  sentBytes = 0;
  /** Written since `drain()` was last called. */
  #burst = 0;
  /** quinn has no room; `writable()` will tell. */
  #blocked = false;
  #flushLater = false;
  #finQueued = false;
  #writeEnded = false;
  #writeError: Error | undefined;
  #drainers: Drainer[] = [];

  /** `id`: its QUIC stream id. */
  constructor(driver: Driver, owner: StreamOwner, handle: number, id: number) {
    this.#driver = driver;
    this.#native = driver.native;
    this.#engine = driver.engine;
    this.#owner = owner;
    this.#memory = owner.memory;
    this.handle = handle;
    this.id = String(id);
  }

  read(into?: Uint8Array): Promise<Uint8Array | null> {
    const kept = this.#kept.shift();
    if (kept !== undefined) {
      this.#memory?.addUnread(-kept.length);
      return Promise.resolve(kept);
    }
    if (!this.#readEnded) {
      const chunk = this.#pull(into);
      if (chunk !== undefined) return Promise.resolve(chunk);
    }
    if (this.#readError !== undefined) return Promise.reject(this.#readError);
    if (this.#readEnded) return Promise.resolve(null);
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject, into };
    });
  }

  unread(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#kept.unshift(chunk);
    this.#memory?.addUnread(chunk.length);
  }

  write(chunk: Uint8Array): boolean {
    if (this.#writeError !== undefined) throw this.#writeError;
    if (this.#finQueued) throw writeAfterClose();
    this.#burst += chunk.length;
    if (this.#blocked || this.#pending.bytes + chunk.length < FLUSH_AT) {
      this.#keep(chunk);
      if (!this.#blocked) this.#flushAtEndOfTurn();
    } else {
      this.#flush();
      this.#writeThrough(chunk);
    }
    return this.#hasRoom() && this.#burst < BURST;
  }

  /** Without keeping `chunk`, if quinn takes it. */
  #writeThrough(chunk: Uint8Array): void {
    const taken = this.#blocked || this.#writeEnded ? 0 : this.#give(chunk, false);
    if (this.#writeError !== undefined) throw this.#writeError;
    if (taken < chunk.length) this.#keep(taken === 0 ? chunk : chunk.subarray(taken));
  }

  #keep(chunk: Uint8Array): void {
    this.#pending.push(chunk);
    this.#memory?.addUnsent(chunk.length);
  }

  #hasRoom(): boolean {
    const { bytes } = this.#pending;
    return bytes < HIGH_WATER && (this.#memory?.mayWrite(bytes) ?? true);
  }

  drain(): Promise<void> {
    if (this.#writeError !== undefined) return Promise.reject(this.#writeError);
    if (this.#finQueued) return Promise.reject(writeAfterClose());
    this.#burst = 0;
    if (this.#hasRoom()) return Promise.resolve();
    this.#owner.stalls.add(this);
    return new Promise((resolve, reject) => this.#drainers.push({ resolve, reject }));
  }

  closeWrite(): void {
    if (this.#finQueued || this.#writeEnded) return;
    this.#finQueued = true;
    if (!this.#blocked) this.#flushAtEndOfTurn();
  }

  stopSending(code = 0): void {
    if (this.#readEnded) return;
    this.#dropKept();
    this.#native.stopSending(this.#engine, this.handle, code);
    this.#endRead(new LeanError('ERR_STREAM_CLOSED', 'this side stopped reading the stream'));
  }

  reset(code = 0): void {
    this.#abort(code, new LeanError('ERR_STREAM_CLOSED', 'this side reset the stream'));
  }

  /** Waited for its peer in vain; stall-watch.ts. */
  onStalled(error: LeanError): void {
    this.#abort(STREAM_RESOURCE_LIMIT_EXCEEDED, error);
  }

  #abort(code: number, writeError: LeanError): void {
    this.#dropKept();
    if (!this.#writeEnded) {
      this.#native.resetStream(this.#engine, this.handle, code);
      this.#endWrite(writeError);
    }
    if (!this.#readEnded) {
      const text = 'this side reset the stream';
      this.#readError = new StreamResetError('ERR_STREAM_RESET', code, text);
      this.stopSending(code);
    }
  }

  // ── Called by the driver and the connection ──────────────────────────────────────────────────

  readable(): void {
    const reader = this.#reader;
    if (reader === undefined || this.#readEnded) return;
    const chunk = this.#pull(reader.into);
    if (chunk === undefined) return;
    this.#reader = undefined;
    reader.resolve(chunk);
  }

  writable(): void {
    this.#setBlocked(false);
    this.#flush();
  }

  flush(): void {
    this.#flushLater = false;
    if (!this.#blocked) this.#flush();
  }

  broken(error: unknown): void {
    this.#owner.broken(error);
  }

  /** Keeps what arrived before the end readable, then fails. */
  connectionEnded(error: LeanError): void {
    while (!this.#readEnded) {
      const chunk = this.#pull();
      if (chunk === undefined) this.#endRead(error);
      else if (this.#reader !== undefined) this.#takeReader()?.resolve(chunk);
      else {
        this.#kept.push(chunk);
        this.#memory?.addUnread(chunk.length);
      }
    }
    if (!this.#writeEnded) this.#endWrite(error);
  }

  // ── Inside ───────────────────────────────────────────────────────────────────────────────────

  /** The next chunk from quinn; `undefined`: none now, or the end, which `#readEnded` tells. */
  #pull(into?: Uint8Array): Uint8Array | undefined {
    if (into !== undefined && into.length > 0) {
      const count = this.#native.read(this.#engine, this.handle, into);
      if (count > 0) return into.subarray(0, count);
      this.#cannotRead(count);
      return undefined;
    }
    const space = slabSpace();
    const count = this.#native.read(this.#engine, this.handle, space);
    if (count > 0) return takeFromSlab(space, count);
    this.#cannotRead(count);
    return undefined;
  }

  #cannotRead(why: number): void {
    if (why === BLOCKED) return;
    if (why === EOF) this.#endRead(undefined);
    else if (why === RESET) {
      const code = this.#native.lastCode(this.#engine);
      const text = `the peer reset the stream (code ${code})`;
      this.#endRead(new StreamResetError('ERR_STREAM_RESET', code, text));
    } else this.#endRead(this.#owner.lost());
  }

  #flushAtEndOfTurn(): void {
    if (this.#flushLater) return;
    this.#flushLater = true;
    this.#driver.flushLater(this);
  }

  /** Hands quinn what it takes, the FIN with the last of it. */
  #flush(): void {
    while (this.#pending.bytes > 0 && !this.#blocked && !this.#writeEnded) {
      const data = this.#joinPending();
      const fin = this.#finQueued && data.length === this.#pending.bytes;
      const taken = this.#give(data, fin);
      if (this.#writeEnded) return;
      this.#pending.drop(taken);
      this.#memory?.addUnsent(-taken);
      if (fin && taken === data.length) this.#endWrite();
    }
    if (this.#writeEnded) return;
    if (this.#finQueued && !this.#blocked) {
      this.#give(NOTHING, true);
      this.#endWrite();
    } else if (this.#drainers.length > 0 && this.#hasRoom()) {
      this.#owner.stalls.delete(this);
      for (const { resolve } of this.#drainers.splice(0)) resolve();
    }
  }

  /** How many bytes quinn took; 0 when it takes none, or never again. */
  #give(data: Uint8Array, fin: boolean): number {
    const taken = this.#native.write(this.#engine, this.handle, data, fin);
    if (taken < 0) {
      this.#cannotWrite(taken);
      return 0;
    }
    this.sentBytes += taken;
    if (taken < data.length) this.#setBlocked(true);
    return taken;
  }

  #setBlocked(blocked: boolean): void {
    if (this.#blocked === blocked) return;
    this.#blocked = blocked;
    this.#owner.setBlocked(this, blocked);
  }

  /** The first waiting chunk; a small one together with those behind it. */
  #joinPending(): Uint8Array {
    const first = this.#pending.first() ?? NOTHING;
    if (first.length === this.#pending.bytes || first.length >= JOIN / 2) return first;
    return Buffer.concat(this.#pending.front(JOIN));
  }

  #cannotWrite(why: number): void {
    if (why !== RESET) {
      this.#endWrite(this.#owner.lost());
      return;
    }
    const code = this.#native.lastCode(this.#engine);
    const text = `the peer stopped reading (code ${code})`;
    this.#endWrite(new StreamResetError('ERR_STREAM_STOPPED', code, text));
  }

  #takeReader(): Reader | undefined {
    const reader = this.#reader;
    this.#reader = undefined;
    return reader;
  }

  #endRead(error: Error | undefined): void {
    if (this.#readEnded) return;
    this.#readEnded = true;
    this.#readError ??= error;
    const reader = this.#takeReader();
    if (this.#readError !== undefined) reader?.reject(this.#readError);
    else reader?.resolve(null);
    this.#forgetIfDone();
  }

  /** Without an error: after the FIN. */
  #endWrite(error?: Error): void {
    if (this.#writeEnded) return;
    this.#writeEnded = true;
    this.#writeError = error;
    this.#memory?.addUnsent(-this.#pending.bytes);
    this.#pending.clear();
    this.#setBlocked(false);
    this.#owner.stalls.delete(this);
    const failure = error ?? writeAfterClose();
    for (const { reject } of this.#drainers.splice(0)) reject(failure);
    this.#forgetIfDone();
  }

  #forgetIfDone(): void {
    if (!this.#readEnded || !this.#writeEnded) return;
    // What is still to be read belongs to whoever holds the stream.
    this.#memory?.addUnread(-this.#kept.bytes);
    this.#memory = undefined;
    this.#owner.forget(this);
  }

  #dropKept(): void {
    this.#memory?.addUnread(-this.#kept.bytes);
    this.#kept.clear();
  }
}

const NOTHING = new Uint8Array(0);

const writeAfterClose = (): LeanError =>
  new LeanError('ERR_STREAM_CLOSED', 'write after the stream was closed');

let slab = new Uint8Array(0);
let slabUsed = 0;

/** Memory to read into, at least SLAB_MIN bytes. */
const slabSpace = (): Uint8Array => {
  if (slab.length - slabUsed < SLAB_MIN) {
    // Not zeroed, and not a Buffer, whose slice() would not copy.
    slab = new Uint8Array(Buffer.allocUnsafeSlow(SLAB).buffer);
    slabUsed = 0;
  }
  return slabUsed === 0 ? slab : slab.subarray(slabUsed);
};

/** The first `count` bytes of `space`, for the reader to keep. */
const takeFromSlab = (space: Uint8Array, count: number): Uint8Array => {
  if (count < COPY_BELOW) return space.slice(0, count);
  slabUsed += count;
  return space.subarray(0, count);
};
