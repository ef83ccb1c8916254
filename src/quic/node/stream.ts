/** One stream of `node:quic` as a {@link Stream}. */

import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { type ConnectionMemory, STREAM_RESOURCE_LIMIT_EXCEEDED } from '../../connection-memory.ts';
import { LeanError } from '../../errors.ts';
import { ByteQueue } from '../../stream/byte-queue.ts';
import type { StallWatch, WaitingWriter } from '../../stream/stall-watch.ts';
import { type Stream, StreamResetError } from '../../stream.ts';
import type { FinGate } from './fin-gate.ts';
import type { MemoryPoll, PolledStream } from './memory-poll.ts';
import {
  DRAINABLE,
  type NodeQuicError,
  type NodeQuicStream,
  type NodeQuicWriter,
  ON_BUN,
} from './types.ts';
import type { WriteBudget } from './write-budget.ts';

/** Writes of one turn are handed over together, but not later than at this many bytes. */
const FLUSH_AT = 64 << 10;
/** A stream of so few bytes goes into one packet, beside whatever else that has to carry. */
const WHOLE = 512;
/** How long a stream's end may precede that of its connection on Bun; milliseconds. */
const BUN_END = 50;

/** What a stream needs to know of its connection. */
export interface StreamOwner {
  /** Why nothing works any more, once the connection has ended. */
  readonly endedError: LeanError | undefined;
  readonly closed: Promise<unknown>;
  forget(stream: NodeQuicEngineStream): void;
  readonly fins: FinGate;
  readonly budget: WriteBudget;
  readonly memory: ConnectionMemory;
  readonly stalls: StallWatch;
  readonly poll: MemoryPoll;
}

export class NodeQuicEngineStream implements Stream, WaitingWriter, PolledStream {
  readonly id: string;
  readonly #raw: NodeQuicStream;
  readonly #owner: StreamOwner;
  /** Where it is counted: until both directions have ended. */
  #memory: ConnectionMemory | undefined;
  /** What it is counted with. */
  #unreadBytes = 0;
  #unsentBytes = 0;

  // Reading. Node yields batches of up to 16 chunks.
  readonly #batches: AsyncIterator<Uint8Array[]>;
  #batch: Uint8Array[] = [];
  #batchAt = 0;
  readonly #putBack = new ByteQueue();
  /** Bytes that node has yielded, and those among them that were not read, or put back. */
  #yielded = 0;
  #kept = 0;
  /** Whether nothing is unread for sure: node was asked for more that has not come, or has no more. */
  #allRead = false;
  #prefetched: Promise<IteratorResult<Uint8Array[]>> | undefined;
  #finReceived = false;
  #eof = false;
  #readError: LeanError | undefined;

  // Writing. The writer is made when there is something to send: making it puts the stream into
  // node's send queue, and one that has nothing to send there holds up those behind it.
  #writer: NodeQuicWriter | undefined;
  readonly #queue = new ByteQueue();
  #flushScheduled = false;
  #awaitsDrain = false;
  #written = 0;
  #fin: 'no' | 'wanted' | 'scheduled' | 'sent' = 'no';
  /** Made when it is thrown: a stack costs more than closing a stream. */
  #writeError: (() => LeanError) | undefined;
  readonly #drains: { resolve: () => void; reject: (error: LeanError) => void }[] = [];

  /** `raw` must be opened: its id is known. */
  constructor(raw: NodeQuicStream, owner: StreamOwner) {
    this.id = String(raw.id);
    this.#raw = raw;
    this.#owner = owner;
    this.#memory = owner.memory;
    raw.onreset = (error) => {
      const code = codeOf(error);
      this.#endReading(resetError('ERR_STREAM_RESET', code, 'the peer reset the stream'));
    };
    // Bun 1.4 has no such callback; there a stop shows, without its code, when we write.
    if ('onstopsending' in raw) raw.onstopsending = (error) => this.#stopped(codeOf(error));
    const onClosed = (error?: unknown): void =>
      // The end of the stream is announced before the end of its connection, in the same turn.
      void setImmediate(settle, this, error as NodeQuicError | undefined);
    raw.closed.then(onClosed, onClosed);
    // node:quic gives the bytes of a closed stream to whoever asked for them before it closed, and
    // to nobody else. An exchange can be over before our first read(), so ask now.
    this.#batches = raw[Symbol.asyncIterator]();
    this.#prefetched = this.#ask();
  }

  #ask(): Promise<IteratorResult<Uint8Array[]>> {
    this.#allRead = true;
    const next = this.#batches.next();
    next.then(this.#onBatch, ignore);
    return next;
  }

  readonly #onBatch = ({ done, value }: IteratorResult<Uint8Array[]>): void => {
    if (done === true) return;
    this.#allRead = false;
    let bytes = 0;
    for (const { length } of value) bytes += length;
    this.#yielded += bytes;
    if (this.#readError !== undefined) return;
    this.#keep(bytes);
    if (this.#memory !== undefined) this.#owner.poll.watch(this);
  };

  #keep(bytes: number): void {
    this.#kept += bytes;
    this.#unreadBytes += bytes;
    this.#memory?.addUnread(bytes);
  }

  get heldBytes(): number {
    return this.#unreadBytes + this.#unsentBytes;
  }

  recount(): boolean {
    const unsent = this.#countUnsent();
    this.#count(this.#countUnread(), unsent);
    return !this.#allRead || unsent > 0;
  }

  #countUnread(): number {
    const { stats, destroyed } = this.#raw;
    if (destroyed || ON_BUN || this.#readError !== undefined) return this.#kept;
    // What is in the receive buffer costs nothing more.
    const buffered = Number(stats.bytesAccumulated ?? 0n);
    return this.#kept + Math.max(0, Number(stats.bytesReceived) - this.#yielded - buffered);
  }

  #countUnsent(): number {
    const { stats, destroyed } = this.#raw;
    // Bun 1.4 counts nothing.
    if (destroyed || ON_BUN) return this.#queue.bytes;
    return this.#queue.bytes + Math.max(0, this.#written - Number(stats.maxOffsetAcknowledged));
  }

  #count(unread: number, unsent: number): void {
    this.#memory?.addUnread(unread - this.#unreadBytes);
    this.#memory?.addUnsent(unsent - this.#unsentBytes);
    this.#unreadBytes = unread;
    this.#unsentBytes = unsent;
  }

  async read(): Promise<Uint8Array | null> {
    for (;;) {
      const back = this.#putBack.shift();
      if (back !== undefined) {
        this.#keep(-back.length);
        return back;
      }
      const chunk = this.#batch[this.#batchAt];
      if (chunk !== undefined) {
        this.#batchAt++;
        this.#keep(-chunk.length);
        return chunk;
      }
      if (this.#readError !== undefined) throw this.#readError;
      if (this.#eof) return null;
      await this.#nextBatch();
    }
  }

  unread(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#putBack.unshift(chunk);
    this.#keep(chunk.length);
  }

  async #nextBatch(): Promise<void> {
    const next = this.#prefetched ?? this.#ask();
    this.#prefetched = undefined;
    this.#batch = [];
    this.#batchAt = 0;
    try {
      const result = await next;
      if (this.#readError !== undefined) return;
      if (result.done !== true) {
        // A FIN that came with these bytes is on record; one of a destroyed stream says nothing,
        // since destruction sets the final size too.
        if (!this.#raw.destroyed && this.#raw.stats.finalSize > 0n) this.#finReceived = true;
        this.#batch = result.value;
        return;
      }
      // The iterator ends alike at a FIN and when the connection dies; an EOF must be the peer's.
      if (ON_BUN) await this.#endOnBun();
      const ended = this.#owner.endedError;
      if (ended === undefined || this.#finReceived) this.#eof = true;
      else this.#endReading(ended);
    } catch (error) {
      if (ON_BUN) await nextTurn(); // onreset, which knows the code, comes later there.
      const code = codeOf(error as NodeQuicError);
      this.#endReading(
        this.#owner.endedError ??
          resetError('ERR_STREAM_RESET', code, 'the stream was cut off by the peer'),
      );
    }
  }

  /**
   * Bun tells of the connection's end some milliseconds after that of its streams. A stream that is
   * destroyed although we still write to it ended with its connection; one that we had finished
   * cannot be told apart, and passes for finished by the peer, too.
   */
  async #endOnBun(): Promise<void> {
    await nextTurn();
    await nextTurn();
    if (!this.#raw.destroyed || this.#fin === 'sent') return;
    await Promise.race([this.#owner.closed, delay(BUN_END)]);
  }

  #endReading(error: LeanError): void {
    if (this.#readError !== undefined || this.#eof) return;
    this.#readError = error;
    this.#dropUnread();
    void this.#discard();
  }

  #dropUnread(): void {
    this.#batch = [];
    this.#putBack.clear();
    this.#kept = 0;
    this.#count(0, this.#unsentBytes);
  }

  /** Takes off node what nobody will read: node keeps it until then. */
  async #discard(): Promise<void> {
    try {
      while ((await this.#batches.next()).done !== true);
    } catch {
      // Cut off: there is nothing more.
    }
  }

  write(chunk: Uint8Array): boolean {
    if (this.#writeError !== undefined) throw this.#writeError();
    if (chunk.length > 0) {
      this.#queue.push(chunk);
      this.#unsentBytes += chunk.length;
      this.#memory?.addUnsent(chunk.length);
      this.#owner.poll.watch(this);
      if (this.#queue.bytes >= FLUSH_AT) this.#flush();
      else this.#scheduleFlush();
    }
    return this.#hasRoom();
  }

  drain(): Promise<void> {
    if (this.#writeError !== undefined) return Promise.reject(this.#writeError());
    if (this.#hasRoom()) return Promise.resolve();
    this.#owner.stalls.add(this);
    return new Promise((resolve, reject) => {
      this.#drains.push({ resolve, reject });
      this.#flush();
    });
  }

  closeWrite(): void {
    if (this.#writeError !== undefined) return;
    this.#fin = 'wanted';
    this.#endWriting(closedForWriting);
    this.#scheduleFlush();
  }

  stopSending(code = 0): void {
    if (this.#readError !== undefined || this.#eof) return;
    this.#endReading(resetError('ERR_STREAM_RESET', code, 'reading was stopped by us', 'local'));
    this.#raw.stopSending(BigInt(code));
  }

  reset(code = 0): void {
    this.#abort(code, resetByUs);
  }

  /** Waited for its peer in vain; stall-watch.ts. */
  onStalled(error: LeanError): void {
    this.#abort(STREAM_RESOURCE_LIMIT_EXCEEDED, () => error);
  }

  /** Bytes that the peer acknowledged. */
  get sentBytes(): number {
    return ON_BUN ? this.#written : Number(this.#raw.stats.maxOffsetAcknowledged);
  }

  #abort(code: number, writeError: () => LeanError): void {
    const ended = this.#owner.endedError;
    if (ended !== undefined || this.#raw.destroyed) {
      this.#endReading(ended ?? resetError('ERR_STREAM_RESET', code, 'the stream was reset by us'));
      this.#dropUnread();
      return;
    }
    this.#fin = 'no';
    this.#dropUnsent();
    this.#endWriting(writeError);
    this.#raw.resetStream(BigInt(code));
    if (this.#readError !== undefined || this.#eof) return;
    this.#endReading(resetError('ERR_STREAM_RESET', code, 'the stream was reset by us', 'local'));
    this.#raw.stopSending(BigInt(code));
  }

  #hasRoom(): boolean {
    const { bytes } = this.#queue;
    if (bytes >= FLUSH_AT || this.#awaitsDrain) return false;
    if (this.#memory?.mayWrite(bytes) === false) return false;
    return this.#writer === undefined || hasRoom(this.#writer);
  }

  /**
   * After all microtasks of this turn: what is written in one turn leaves in one call, and so
   * mostly in one packet. A microtask alone would run before later writes of the same turn.
   */
  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    queueMicrotask(this.#nextTick);
  }

  readonly #nextTick = (): void => process.nextTick(this.#scheduledFlush);

  readonly #scheduledFlush = (): void => {
    this.#flushScheduled = false;
    this.#flush();
  };

  #flush(): void {
    const { fins } = this.#owner;
    if (this.#awaitsDrain || this.#raw.destroyed || fins.paused) return;
    if (this.#queue.bytes > 0 || this.#drains.length > 0) this.#takeShare();
    if (this.#isWhole() && fins.takesWhole) {
      this.#sendWhole();
      return;
    }
    while (this.#queue.bytes > 0) {
      const writer = this.#openWriter();
      // More in one call would go over the budget.
      const size = Math.min(this.#queue.bytes, this.#raw.budget ?? Number.POSITIVE_INFINITY);
      if (!writer.writevSync(this.#queue.front(size))) break;
      this.#queue.drop(size);
      this.#written += size;
      fins.wrote(this);
      if (!hasRoom(writer)) break;
    }
    const writer = this.#writer;
    if (ON_BUN && writer?.desiredSize === null && this.#fin === 'no') this.#stopped(0);
    if (this.#queue.bytes === 0) {
      if (this.#fin === 'wanted') {
        this.#fin = 'scheduled';
        fins.schedule(this);
      }
      if (this.#drains.length === 0) return;
      if (writer === undefined || hasRoom(writer)) {
        this.#wakeWriters();
        return;
      }
    }
    if (writer === undefined) return;
    // While a drain is pending node:quic refuses every write, so it is asked for only when needed.
    const drained = writer[DRAINABLE]?.() ?? null;
    if (drained === null) {
      // Room came up since the write.
      if (this.#queue.bytes > 0 && hasRoom(writer)) setImmediate(this.#scheduledFlush);
      return;
    }
    this.#awaitsDrain = true;
    this.#owner.budget.full(this.#raw);
    drained.then(this.#drained, ignore);
  }

  /** Its part of what may be unsent on this connection. */
  #takeShare(): void {
    const { budget, memory } = this.#owner;
    this.#count(this.#unreadBytes, this.#countUnsent());
    const others = memory.unsent - this.#unsentBytes;
    budget.share(this.#raw, memory.unsentShare - others);
  }

  /**
   * When node closes the stream, it calls `fail()` of the writer, which sends a RESET_STREAM: ahead of the
   * CONNECTION_CLOSE, so that the peer takes the end of the connection for a reset; and if the connection
   * has timed out, node 24.21 finds out once more in there, for every stream, and can end in a failed
   * assertion. Our own resets do not go through the writer.
   */
  #openWriter(): NodeQuicWriter {
    if (this.#writer === undefined) {
      this.#writer = this.#raw.writer;
      this.#writer.fail = ignore;
    }
    return this.#writer;
  }

  /** Whether all that the stream will ever send is there, and fits into one packet. */
  #isWhole(): boolean {
    if (this.#fin !== 'wanted' || this.#writer !== undefined) return false;
    return this.#queue.bytes > 0 && this.#queue.bytes <= WHOLE;
  }

  /** Data and FIN in one packet, and no writer: half the time of a short exchange. */
  #sendWhole(): void {
    const whole = new Uint8Array(this.#queue.bytes);
    let at = 0;
    for (const chunk of this.#queue.front(whole.length)) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    this.#written += at;
    this.#queue.clear();
    this.#fin = 'sent';
    this.#raw.setBody(whole);
    this.#owner.fins.wroteWhole(this);
    this.#wakeWriters();
  }

  #wakeWriters(): void {
    this.#owner.stalls.delete(this);
    for (const drain of this.#drains.splice(0)) drain.resolve();
  }

  /** After a pause of the gate. */
  resume(): void {
    if (this.#queue.bytes > 0 || this.#drains.length > 0 || this.#fin === 'wanted') this.#flush();
  }

  /**
   * Out of node's callback, so that all that came with the room is known: a STOP_SENDING, too.
   */
  readonly #drained = (): void => void setImmediate(this.#afterDrain);

  readonly #afterDrain = (): void => {
    this.#awaitsDrain = false;
    this.#owner.budget.drained(this.#raw);
    this.#flush();
  };

  /** Whether node:quic has put all that was written into packets. */
  get allSent(): boolean {
    return this.#raw.destroyed || this.#raw.stats.bytesSent >= this.#written;
  }

  /** Does nothing when the stream was reset or stopped in the meantime. */
  sendFin(): void {
    if (this.#fin !== 'scheduled' || this.#raw.destroyed) return;
    this.#fin = this.#openWriter().endSync() === -1 ? 'wanted' : 'sent';
  }

  #stopped(code: number): void {
    this.#fin = 'no';
    this.#dropUnsent();
    const error = resetError('ERR_STREAM_STOPPED', code, 'the peer wants no more bytes');
    // Also after our closeWrite(): the bytes that were on their way are not wanted either.
    this.#writeError = undefined;
    this.#endWriting(() => error);
  }

  #dropUnsent(): void {
    this.#queue.clear();
    this.#written = 0;
    this.#count(this.#unreadBytes, 0);
  }

  #endWriting(error: () => LeanError): void {
    this.#writeError ??= error;
    this.#owner.stalls.delete(this);
    for (const drain of this.#drains.splice(0)) drain.reject(error());
  }

  /** The connection calls it when it ends; what was received may still be read. */
  connectionEnded(): void {
    this.#dropUnsent();
    this.#writeError = undefined;
    const owner = this.#owner;
    this.#endWriting(() => owner.endedError ?? closedForWriting());
  }

  /** node:quic has closed its stream: both directions are over. */
  static settle(stream: NodeQuicEngineStream, error: NodeQuicError | undefined): void {
    // What is still to be read belongs to whoever holds the stream.
    stream.#count(0, 0);
    stream.#memory = undefined;
    stream.#owner.forget(stream);
    stream.#owner.budget.drained(stream.#raw);
    if (stream.#owner.endedError !== undefined || stream.#writeError !== undefined) return;
    stream.#stopped(codeOf(error));
  }
}

const { settle } = NodeQuicEngineStream;

const ignore = (): void => {};

const hasRoom = (writer: NodeQuicWriter): boolean =>
  writer.canWrite ?? (writer.desiredSize ?? 0) > 0;

/** The code on the wire; `node:quic` gives no error for code 0. */
const codeOf = (error: NodeQuicError | undefined): number => Number(error?.errorCode ?? 0n);

const closedForWriting = (): LeanError =>
  new LeanError('ERR_STREAM_CLOSED', 'the stream was closed for writing');

const resetByUs = (): LeanError => new LeanError('ERR_STREAM_CLOSED', 'the stream was reset by us');

const resetError = (
  code: 'ERR_STREAM_RESET' | 'ERR_STREAM_STOPPED',
  resetCode: number,
  what: string,
  by: 'local' | 'remote' = 'remote',
): StreamResetError => new StreamResetError(code, resetCode, `${what} (code ${resetCode})`, by);
