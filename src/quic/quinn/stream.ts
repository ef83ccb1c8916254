/** A bidirectional stream of quinn; `Stream`'s contract. */

import { type ConnectionMemory, STREAM_RESOURCE_LIMIT_EXCEEDED } from '../../connection-memory.ts';
import { LeanError } from '../../errors.ts';
import { ByteQueue } from '../../stream/byte-queue.ts';
import { iterate } from '../../stream/iterate.ts';
import { ReceiveSide, type ReceiveSource } from '../../stream/receive-side.ts';
import { SendSide, type SendSink } from '../../stream/send-side.ts';
import type { StallWatch, WaitingWriter } from '../../stream/stall-watch.ts';
import { type Stream, StreamResetError } from '../../stream.ts';
import { BLOCKED, EOF, type QuinnBinding, RESET } from './binding.ts';
import type { Driver, StreamEvents } from './driver.ts';

/** `write()` returns false when this much waits for room in quinn; bytes. */
const HIGH_WATER = 64 << 10;
/** A writer that never has to wait must still yield to the event loop after this much; bytes. */
const BURST = 1 << 20;
/** This much is handed to quinn at once, less at the end of the turn of the event loop; bytes. */
const FLUSH_AT = 16 << 10;
/** Reads without a buffer of the caller's use slabs of this size; bytes. */
const SLAB = 256 << 10;
/** With less than this left in the slab, a new one is allocated; bytes. */
const SLAB_MIN = 64 << 10;
/** A shorter chunk is copied, so that it does not keep the slab in memory; bytes. */
const COPY_BELOW = 16 << 10;
/** Waiting chunks are joined up to this size, to save calls; bytes. */
const JOIN = 64 << 10;

/** What a stream needs from its connection. */
export interface StreamOwner {
  readonly memory: ConnectionMemory;
  readonly stalls: StallWatch;
  /** quinn has no room for a stream's data, or has room again; called in turn. */
  setBlocked(blocked: boolean): void;
  /** Both directions have ended. */
  forget(stream: QuinnStream): void;
  /** A call of the binding panicked. */
  broken(error: unknown): void;
  /** The error of streams after the connection has ended. Records that end if the connection does not know it yet. */
  lost(): LeanError;
}

export class QuinnStream implements Stream, StreamEvents, ReceiveSource, SendSink, WaitingWriter {
  readonly id: string;
  /** Its number in the binding. */
  readonly handle: number;
  readonly #native: QuinnBinding;
  readonly #engine: number;
  readonly #driver: Driver;
  readonly #owner: StreamOwner;

  /** Where its bytes are counted, until both directions have ended. */
  #memory: ConnectionMemory | undefined;
  readonly #receive: ReceiveSide;
  readonly #send: SendSide;

  readonly #pending = new ByteQueue();
  /** Bytes that quinn took, as many as the peer's windows and its own allow. */
  sentBytes = 0;
  /** Written since `drain()` was last called. */
  #burst = 0;
  /** quinn has no room; `writable()` follows. */
  #blocked = false;
  #flushLater = false;
  /** The FIN is with quinn, or writing failed. */
  #writeEnded = false;

  /** `id`: its QUIC stream id. */
  constructor(driver: Driver, owner: StreamOwner, handle: number, id: number) {
    this.#driver = driver;
    this.#native = driver.native;
    this.#engine = driver.engine;
    this.#owner = owner;
    this.#memory = owner.memory;
    this.#receive = new ReceiveSide(this, owner.memory);
    this.#send = new SendSide(this);
    this.handle = handle;
    this.id = String(id);
  }

  read(into?: Uint8Array, signal?: AbortSignal): Promise<Uint8Array | null> {
    return this.#receive.read(into, signal);
  }

  unread(chunk: Uint8Array): void {
    this.#receive.unread(chunk);
  }

  write(chunk: Uint8Array): boolean {
    this.#send.assertOpen();
    this.#burst += chunk.length;
    if (this.#blocked || this.#pending.bytes + chunk.length < FLUSH_AT) {
      this.#keep(chunk);
      if (!this.#blocked) this.#flushAtEndOfTurn();
    } else {
      this.#flush();
      this.#writeThrough(chunk);
    }
    return this.hasRoom() && this.#burst < BURST;
  }

  /** Hands `chunk` to quinn at once and keeps only what it does not take. */
  #writeThrough(chunk: Uint8Array): void {
    const taken = this.#blocked || this.#writeEnded ? 0 : this.#give(chunk, false);
    if (this.#send.error !== undefined) throw this.#send.error;
    if (taken < chunk.length) this.#keep(taken === 0 ? chunk : chunk.subarray(taken));
  }

  #keep(chunk: Uint8Array): void {
    this.#pending.push(chunk);
    this.#memory?.addUnsent(chunk.length);
  }

  drain(signal?: AbortSignal): Promise<void> {
    this.#burst = 0;
    return this.#send.drain(signal);
  }

  closeWrite(): void {
    if (this.#send.close() && !this.#blocked) this.#flushAtEndOfTurn();
  }

  stopSending(code = 0): void {
    const text = 'this side stopped reading the stream';
    this.#stopReading(code, new LeanError('ERR_STREAM_CLOSED', text));
  }

  reset(code = 0): void {
    this.#abandon(code, new LeanError('ERR_STREAM_CLOSED', 'this side reset the stream'));
  }

  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    return iterate(this);
  }

  // ── Called by its sides ──────────────────────────────────────────────────────────────────────

  /** The next chunk from quinn; `undefined`: none now, or the end. */
  pull(into?: Uint8Array): Uint8Array | undefined {
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

  hasRoom(): boolean {
    const { bytes } = this.#pending;
    return bytes < HIGH_WATER && (this.#memory?.mayWrite(bytes) ?? true);
  }

  onWriter(waits: boolean): void {
    if (waits) this.#owner.stalls.add(this);
    else this.#owner.stalls.delete(this);
  }

  // ── Called by the driver and the connection ──────────────────────────────────────────────────

  readable(): void {
    this.#receive.wake();
  }

  writable(): void {
    this.#setBlocked(false);
    this.#flush();
  }

  flush(): void {
    this.#flushLater = false;
    if (!this.#blocked) this.#flush();
  }

  /** The peer has taken nothing for `stallTimeout`; stall-watch.ts. */
  onStalled(error: LeanError): void {
    this.#abandon(STREAM_RESOURCE_LIMIT_EXCEEDED, error);
  }

  broken(error: unknown): void {
    this.#owner.broken(error);
  }

  /** Whether the peer's FIN has come, once this side has ended; {@link ReceiveSide.lookForEnd}. */
  lookForEnd(): void {
    if (this.#writeEnded) this.#receive.lookForEnd();
  }

  /** Keeps what arrived before the end readable, then fails. */
  connectionEnded(error: LeanError): void {
    this.#receive.wake();
    while (this.#receive.isOpen) {
      const chunk = this.pull();
      if (chunk === undefined) this.#receive.close(error);
      else this.#receive.push(chunk);
    }
    this.#endWrite(error);
  }

  // ── Inside ───────────────────────────────────────────────────────────────────────────────────

  #cannotRead(why: number): void {
    if (why === BLOCKED) return;
    if (why === EOF) this.#receive.finish();
    else if (why === RESET) {
      const code = this.#native.lastCode(this.#engine);
      const text = `the peer reset the stream (code ${code})`;
      this.#receive.abandon(new StreamResetError('ERR_STREAM_RESET', code, text));
    } else this.#receive.close(this.#owner.lost());
    this.#forgetIfDone();
  }

  #stopReading(code: number, error: LeanError): void {
    if (this.#receive.isOpen) this.#native.stopSending(this.#engine, this.handle, code);
    this.#receive.abandon(error);
    this.#forgetIfDone();
  }

  #abandon(code: number, writeError: LeanError): void {
    if (!this.#writeEnded) this.#native.resetStream(this.#engine, this.handle, code);
    this.#endWrite(writeError);
    const text = 'this side reset the stream';
    this.#stopReading(code, new StreamResetError('ERR_STREAM_RESET', code, text, 'local'));
  }

  #flushAtEndOfTurn(): void {
    if (this.#flushLater) return;
    this.#flushLater = true;
    this.#driver.flushLater(this);
  }

  /** Hands quinn as much as it takes, the FIN with the last of it. */
  #flush(): void {
    while (this.#pending.bytes > 0 && !this.#blocked && !this.#writeEnded) {
      const data = this.#joinPending();
      const fin = this.#send.isClosed && data.length === this.#pending.bytes;
      const taken = this.#give(data, fin);
      if (this.#writeEnded) return;
      this.#pending.drop(taken);
      this.#memory?.addUnsent(-taken);
      if (fin && taken === data.length) this.#finSent();
    }
    if (this.#writeEnded) return;
    if (this.#send.isClosed && !this.#blocked) {
      this.#give(NOTHING, true);
      this.#finSent();
    } else if (this.hasRoom()) this.#send.wake();
  }

  /** @returns how many bytes quinn took; 0 if it has no room, or writing failed. */
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
    this.#owner.setBlocked(blocked);
  }

  /** The first waiting chunk; if it is small, joined with those behind it. */
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

  #finSent(): void {
    if (this.#writeEnded) return;
    this.#writeEnded = true;
    this.#send.wake();
    this.#forgetIfDone();
  }

  #endWrite(error: LeanError): void {
    this.#writeEnded = true;
    this.#memory?.addUnsent(-this.#pending.bytes);
    this.#pending.clear();
    this.#setBlocked(false);
    this.#send.fail(error);
    this.#forgetIfDone();
  }

  #forgetIfDone(): void {
    if (this.#receive.isOpen || !this.#writeEnded || this.#memory === undefined) return;
    this.#receive.release();
    this.#memory = undefined;
    this.#owner.forget(this);
  }
}

const NOTHING = new Uint8Array(0);

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
