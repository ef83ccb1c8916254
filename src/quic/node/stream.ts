/** One stream of `node:quic` as a {@link Stream}. */

import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { type ConnectionMemory, STREAM_RESOURCE_LIMIT_EXCEEDED } from '../../connection-memory.ts';
import { LeanError } from '../../errors.ts';
import { RUNTIME } from '../../runtime.ts';
import { ByteQueue } from '../../stream/byte-queue.ts';
import { iterate } from '../../stream/iterate.ts';
import { ReceiveSide, type ReceiveSource } from '../../stream/receive-side.ts';
import { SendSide, type SendSink } from '../../stream/send-side.ts';
import type { StallWatch, WaitingWriter } from '../../stream/stall-watch.ts';
import { type Stream, StreamResetError } from '../../stream.ts';
import type { FinGate } from './fin-gate.ts';
import type { MemoryPoll, PolledStream } from './memory-poll.ts';
import {
  DRAINABLE,
  type NodeQuicError,
  type NodeQuicStream,
  type NodeQuicWriter,
} from './types.ts';
import type { WriteBudget } from './write-budget.ts';

/** Writes of one turn are handed over together, but not later than at this many bytes. */
const FLUSH_AT = 64 << 10;
/** A stream of so few bytes goes into one packet, beside whatever else that has to carry. */
const WHOLE = 512;
/** While fewer bytes wait for a reader, node is asked for more. */
const AHEAD = 16 << 10;
/** How long a stream's end may precede that of its connection on Bun; milliseconds. */
const BUN_END = 50;

/** What a stream needs to know of its connection. */
export interface StreamOwner {
  /** The connection's error, once it has ended. */
  readonly endedError: LeanError | undefined;
  readonly closed: Promise<unknown>;
  forget(stream: NodeQuicEngineStream): void;
  readonly fins: FinGate;
  readonly budget: WriteBudget;
  readonly memory: ConnectionMemory;
  readonly stalls: StallWatch;
  readonly poll: MemoryPoll;
}

export class NodeQuicEngineStream
  implements Stream, ReceiveSource, SendSink, WaitingWriter, PolledStream
{
  readonly id: string;
  readonly #raw: NodeQuicStream;
  readonly #owner: StreamOwner;
  /** Where it is counted: until both directions have ended. */
  #memory: ConnectionMemory | undefined;
  /** What of it is counted: received and not yet yielded by node; not acknowledged. */
  #insideBytes = 0;
  #unsentBytes = 0;

  // Reading. Node yields batches of up to 16 chunks.
  readonly #receive: ReceiveSide;
  readonly #batches: AsyncIterator<Uint8Array[]>;
  #batch: Uint8Array[] = [];
  #batchAt = 0;
  /** Bytes of the batch that were not read. */
  #batchBytes = 0;
  /** Bytes that node has yielded. */
  #yielded = 0;
  /** Node was asked for a batch that has not come. */
  #isAsked = false;
  /** Whether surely nothing is unread: node was asked for more and has not answered, or has no more. */
  #allRead = false;
  /** Node has no more. */
  #isOver = false;
  #finReceived = false;

  // Writing. The writer is made when there is something to send: making it puts the stream into
  // node's send queue, and one that has nothing to send there holds up those behind it.
  readonly #send: SendSide;
  #writer: NodeQuicWriter | undefined;
  readonly #queue = new ByteQueue();
  #flushScheduled = false;
  #awaitsDrain = false;
  #written = 0;
  #fin: 'no' | 'wanted' | 'scheduled' | 'sent' = 'no';

  /** `raw` must be opened: its id is known. */
  constructor(raw: NodeQuicStream, owner: StreamOwner) {
    this.id = String(raw.id);
    this.#raw = raw;
    this.#owner = owner;
    this.#memory = owner.memory;
    this.#receive = new ReceiveSide(this, owner.memory);
    this.#send = new SendSide(this);
    raw.onreset = (error) =>
      this.#stopReading(resetError('ERR_STREAM_RESET', codeOf(error), 'the peer reset the stream'));
    // Bun 1.4 has no such callback; there a stop shows, without its code, when we write.
    if ('onstopsending' in raw) raw.onstopsending = (error) => this.#stopped(codeOf(error));
    const onClosed = (error?: unknown): void =>
      // The end of the stream is announced before the end of its connection, in the same turn.
      void setImmediate(settle, this, error as NodeQuicError | undefined);
    raw.closed.then(onClosed, onClosed);
    // node:quic gives the bytes of a closed stream to whoever asked for them before it closed, and
    // to nobody else. An exchange can be over before our first read(), so ask now.
    this.#batches = raw[Symbol.asyncIterator]();
    this.#ask();
  }

  read(into?: Uint8Array, signal?: AbortSignal): Promise<Uint8Array | null> {
    return this.#receive.read(into, signal);
  }

  unread(chunk: Uint8Array): void {
    this.#receive.unread(chunk);
  }

  write(chunk: Uint8Array): boolean {
    this.#send.assertOpen();
    if (chunk.length > 0) {
      this.#queue.push(chunk);
      this.#unsentBytes += chunk.length;
      this.#memory?.addUnsent(chunk.length);
      this.#owner.poll.watch(this);
      if (this.#queue.bytes >= FLUSH_AT) this.#flush();
      else this.#scheduleFlush();
    }
    return this.hasRoom();
  }

  drain(signal?: AbortSignal): Promise<void> {
    return this.#send.drain(signal);
  }

  closeWrite(): void {
    if (!this.#send.close()) return;
    this.#fin = 'wanted';
    this.#scheduleFlush();
  }

  stopSending(code = 0): void {
    if (this.#receive.isOpen && !this.#raw.destroyed) this.#raw.stopSending(BigInt(code));
    this.#stopReading(new LeanError('ERR_STREAM_CLOSED', 'reading was stopped by us'));
  }

  reset(code = 0): void {
    this.#abandon(code, new LeanError('ERR_STREAM_CLOSED', 'the stream was reset by us'));
  }

  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    return iterate(this);
  }

  // ── Called by its sides ──────────────────────────────────────────────────────────────────────

  pull(): Uint8Array | undefined {
    const chunk = this.#batch[this.#batchAt];
    if (chunk === undefined) {
      if (this.#isOver) this.#endReading();
      return undefined;
    }
    this.#batchAt++;
    this.#batchBytes -= chunk.length;
    this.#memory?.addUnread(-chunk.length);
    return chunk;
  }

  onReader(waits: boolean): void {
    if (waits && !this.#isAsked && !this.#isOver) this.#ask();
  }

  hasRoom(): boolean {
    const { bytes } = this.#queue;
    if (bytes === 0 && this.#send.isClosed) return true;
    if (bytes >= FLUSH_AT || this.#awaitsDrain) return false;
    if (this.#memory?.mayWrite(bytes) === false) return false;
    return this.#writer === undefined || hasRoom(this.#writer);
  }

  onWriter(waits: boolean): void {
    if (waits) {
      this.#owner.stalls.add(this);
      this.#flush();
    } else this.#owner.stalls.delete(this);
  }

  // ── Memory ───────────────────────────────────────────────────────────────────────────────────

  get heldBytes(): number {
    return this.#insideBytes + this.#batchBytes + this.#receive.bytes + this.#unsentBytes;
  }

  recount(): boolean {
    const unsent = this.#countUnsent();
    this.#count(this.#countInside(), unsent);
    return !this.#allRead || unsent > 0;
  }

  /** Received, and not yet yielded. */
  #countInside(): number {
    const { stats, destroyed } = this.#raw;
    if (destroyed || !RUNTIME.quicCounts || !this.#receive.isOpen) return 0;
    // What is in the receive buffer costs nothing more.
    const buffered = Number(stats.bytesAccumulated ?? 0n);
    return Math.max(0, Number(stats.bytesReceived) - this.#yielded - buffered);
  }

  #countUnsent(): number {
    const { stats, destroyed } = this.#raw;
    if (destroyed || !RUNTIME.quicCounts) return this.#queue.bytes;
    return this.#queue.bytes + Math.max(0, this.#written - Number(stats.maxOffsetAcknowledged));
  }

  #count(inside: number, unsent: number): void {
    this.#memory?.addUnread(inside - this.#insideBytes);
    this.#memory?.addUnsent(unsent - this.#unsentBytes);
    this.#insideBytes = inside;
    this.#unsentBytes = unsent;
  }

  // ── Reading ──────────────────────────────────────────────────────────────────────────────────

  #ask(): void {
    this.#isAsked = true;
    this.#allRead = true;
    this.#batches.next().then(this.#onBatch, this.#onCut);
  }

  readonly #onBatch = ({ done, value }: IteratorResult<Uint8Array[]>): void => {
    this.#isAsked = false;
    if (done === true) {
      this.#onEnd();
      return;
    }
    this.#allRead = false;
    let bytes = 0;
    for (const { length } of value) bytes += length;
    this.#yielded += bytes;
    if (!this.#receive.isOpen) return;
    this.#noteFin();
    this.#count(Math.max(0, this.#insideBytes - bytes), this.#unsentBytes);
    this.#batch =
      this.#batchAt === this.#batch.length ? value : this.#batch.slice(this.#batchAt).concat(value);
    this.#batchAt = 0;
    this.#batchBytes += bytes;
    this.#memory?.addUnread(bytes);
    if (this.#memory !== undefined) this.#owner.poll.watch(this);
    this.#receive.wake();
    // Ahead of the reader, too: an end that comes must be known before the connection's.
    if (this.#receive.hasReader || this.#batchBytes < AHEAD) this.#ask();
  };

  /**
   * A FIN that has come is on record. That of a destroyed stream says nothing, since destruction sets the
   * final size, too.
   */
  #noteFin(): void {
    if (!this.#raw.destroyed && this.#raw.stats.finalSize > 0n) this.#finReceived = true;
  }

  /** The iterator ends alike at a FIN and when the connection dies; an EOF must be the peer's. */
  #onEnd(): void {
    if (RUNTIME.quicEndsStreamsFirst) {
      this.#untilEndIsTold().then(this.#ended, ignore);
      return;
    }
    this.#ended();
  }

  readonly #ended = (): void => {
    this.#isOver = true;
    this.#noteFin();
    if (this.#batchBytes === 0) this.#endReading();
  };

  #endReading(): void {
    const ended = this.#owner.endedError;
    if (ended === undefined || this.#finReceived) this.#receive.finish();
    else this.#receive.close(ended);
  }

  readonly #onCut = (error: unknown): void => {
    this.#isAsked = false;
    if (this.#owner.endedError !== undefined) {
      this.#ended();
      return;
    }
    const cut = (): void =>
      this.#receive.close(
        this.#owner.endedError ??
          resetError(
            'ERR_STREAM_RESET',
            codeOf(error as NodeQuicError),
            'the stream was cut off by the peer',
          ),
      );
    // onreset, which knows the code, comes later there.
    if (RUNTIME.quicEndsStreamsFirst) setImmediate(cut);
    else cut();
  };

  /**
   * Bun tells of the connection's end some milliseconds after that of its streams. A stream that is
   * destroyed although we still write to it ended with its connection; one that we had finished
   * cannot be told apart, and passes for finished by the peer, too.
   */
  async #untilEndIsTold(): Promise<void> {
    await nextTurn();
    await nextTurn();
    if (!this.#raw.destroyed || this.#fin === 'sent') return;
    await Promise.race([this.#owner.closed, delay(BUN_END)]);
  }

  #stopReading(error: LeanError): void {
    const wasOpen = this.#receive.isOpen;
    if (wasOpen) this.#dropBatch();
    this.#receive.abandon(error);
    if (wasOpen) void this.#discard();
  }

  #dropBatch(): void {
    this.#memory?.addUnread(-this.#batchBytes);
    this.#batch = [];
    this.#batchBytes = 0;
    this.#count(0, this.#unsentBytes);
  }

  /** Discards what will not be read: node buffers it until then. */
  async #discard(): Promise<void> {
    try {
      while ((await this.#batches.next()).done !== true);
    } catch {
      // Cut off: there is nothing more.
    }
  }

  // ── Writing ──────────────────────────────────────────────────────────────────────────────────

  /** The peer has taken nothing for `stallTimeout`; stall-watch.ts. */
  onStalled(error: LeanError): void {
    this.#abandon(STREAM_RESOURCE_LIMIT_EXCEEDED, error);
  }

  /** Bytes that the peer acknowledged. */
  get sentBytes(): number {
    return RUNTIME.quicCounts ? Number(this.#raw.stats.maxOffsetAcknowledged) : this.#written;
  }

  #abandon(code: number, writeError: LeanError): void {
    const ended = this.#owner.endedError;
    const readError = resetError('ERR_STREAM_RESET', code, 'the stream was reset by us', 'local');
    if (ended !== undefined || this.#raw.destroyed) {
      this.#stopReading(ended ?? readError);
      return;
    }
    this.#fin = 'no';
    this.#dropUnsent();
    this.#send.fail(writeError);
    this.#raw.resetStream(BigInt(code));
    if (this.#receive.isOpen) this.#raw.stopSending(BigInt(code));
    this.#stopReading(readError);
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
    if (this.#queue.bytes > 0 || this.#send.hasWriter) this.#takeShare();
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
    if (RUNTIME.quicHidesStops && writer?.desiredSize === null && this.#fin === 'no')
      this.#stopped(0);
    if (this.#queue.bytes === 0) {
      if (this.#fin === 'wanted') {
        this.#fin = 'scheduled';
        fins.schedule(this);
      }
      if (!this.#send.hasWriter) return;
      if (this.hasRoom()) {
        this.#send.wake();
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

  /** Its share of what may be unsent on this connection. */
  #takeShare(): void {
    const { budget, memory } = this.#owner;
    this.#count(this.#insideBytes, this.#countUnsent());
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
    this.#send.wake();
  }

  /** After a pause of the gate. */
  resume(): void {
    if (this.#queue.bytes > 0 || this.#send.hasWriter || this.#fin === 'wanted') this.#flush();
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
    // Also after our closeWrite(): the bytes that were on their way are not wanted either.
    this.#send.fail(resetError('ERR_STREAM_STOPPED', code, 'the peer wants no more bytes'));
  }

  #dropUnsent(): void {
    this.#queue.clear();
    this.#written = 0;
    this.#count(this.#insideBytes, 0);
  }

  /** The connection calls it when it ends; what was received may still be read. */
  connectionEnded(error: LeanError): void {
    this.#noteFin();
    this.#dropUnsent();
    this.#send.fail(error);
  }

  /** node:quic has closed its stream: both directions are over. */
  static settle(stream: NodeQuicEngineStream, error: NodeQuicError | undefined): void {
    // Unread bytes count no longer: the holder of the stream may still read them.
    stream.#count(0, 0);
    stream.#memory?.addUnread(-stream.#batchBytes);
    stream.#receive.release();
    stream.#memory = undefined;
    stream.#owner.forget(stream);
    stream.#owner.budget.drained(stream.#raw);
    if (stream.#owner.endedError !== undefined || !stream.#send.isOpen) return;
    stream.#stopped(codeOf(error));
  }
}

const { settle } = NodeQuicEngineStream;

const ignore = (): void => {};

const hasRoom = (writer: NodeQuicWriter): boolean =>
  writer.canWrite ?? (writer.desiredSize ?? 0) > 0;

/** The code on the wire; `node:quic` gives no error for code 0. */
const codeOf = (error: NodeQuicError | undefined): number => Number(error?.errorCode ?? 0n);

const resetError = (
  code: 'ERR_STREAM_RESET' | 'ERR_STREAM_STOPPED',
  resetCode: number,
  what: string,
  by: 'local' | 'remote' = 'remote',
): StreamResetError => new StreamResetError(code, resetCode, `${what} (code ${resetCode})`, by);
