/** A bidirectional stream of quiche. */

import { type ConnectionMemory, STREAM_RESOURCE_LIMIT_EXCEEDED } from '../../connection-memory.ts';
import { LeanError, messageOf } from '../../errors.ts';
import { ByteQueue } from '../../stream/byte-queue.ts';
import { iterate } from '../../stream/iterate.ts';
import { ReceiveSide, type ReceiveSource } from '../../stream/receive-side.ts';
import { SendSide, type SendSink } from '../../stream/send-side.ts';
import type { StallWatch, WaitingWriter } from '../../stream/stall-watch.ts';
import { type Stream, StreamResetError } from '../../stream.ts';
import { codeIn } from './binding.ts';

/** `write()` returns false when this much waits for quiche's congestion and flow control windows; bytes. */
const HIGH_WATER = 256 * 1024;

const NOTHING = new Uint8Array();

/** What a stream needs from its connection. */
export interface StreamOwner {
  readonly memory: ConnectionMemory;
  readonly stalls: StallWatch;
  /** How often packets were made: it tells whether bytes written earlier may have been sent. */
  readonly flushes: number;
  /** Reads what is there, into `into` if given. `null`: nothing now. Throws quiche's errors. */
  readStream(id: number, into?: Uint8Array): { chunk: Uint8Array; fin: boolean } | null;
  /** The number of bytes taken, 0 when there is no room now. Throws quiche's errors. */
  writeStream(id: number, chunk: Uint8Array, fin: boolean): number;
  /** Whether quiche would take bytes of the stream now. Throws quiche's errors. */
  hasRoom(id: number): boolean;
  /** STOP_SENDING (`direction` 0) or RESET_STREAM (1). */
  shutdownStream(id: number, direction: 0 | 1, code: number): void;
  /** Somebody waits to read, or no longer. */
  setReading(stream: QuicheStream, reading: boolean): void;
  /** Bytes wait for room, or no longer. */
  setBlocked(stream: QuicheStream, blocked: boolean): void;
  /** All bytes are with quiche: sends the FIN and calls `onFinSent()`. */
  sendFin(stream: QuicheStream): void;
  /** Both directions have ended. */
  forget(stream: QuicheStream): void;
}

export class QuicheStream implements Stream, ReceiveSource, SendSink, WaitingWriter {
  readonly id: string;
  readonly number: number;
  readonly #owner: StreamOwner;
  /** Where it is counted: until both directions have ended. */
  #memory: ConnectionMemory | undefined;
  readonly #receive: ReceiveSide;
  readonly #send: SendSide;

  readonly #pending = new ByteQueue();
  /** Bytes handed to quiche, which takes as many as the peer's windows and the congestion window allow. */
  sentBytes = 0;
  /** The connection's `flushes` when bytes were last handed to quiche. */
  #writtenAt = -1;
  /** The FIN is with quiche, or writing failed. */
  #writeEnded = false;

  constructor(owner: StreamOwner, id: number) {
    this.#owner = owner;
    this.#memory = owner.memory;
    this.#receive = new ReceiveSide(this, owner.memory);
    this.#send = new SendSide(this);
    this.number = id;
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
    if (this.#pending.bytes > 0) {
      this.#keep(chunk);
    } else if (chunk.length > 0) {
      const written = this.#give(chunk, false);
      if (written < chunk.length) {
        if (this.#send.error !== undefined) throw this.#send.error;
        this.#keep(chunk.subarray(written));
        this.#owner.setBlocked(this, true);
      }
    }
    return this.hasRoom();
  }

  drain(signal?: AbortSignal): Promise<void> {
    return this.#send.drain(signal);
  }

  closeWrite(): void {
    if (this.#send.close() && this.#pending.bytes === 0) this.#finish();
  }

  stopSending(code = 0): void {
    this.#stopReading(
      code,
      new LeanError('ERR_STREAM_CLOSED', 'this side stopped reading the stream'),
    );
  }

  reset(code = 0): void {
    this.#abandon(code, new LeanError('ERR_STREAM_CLOSED', 'this side reset the stream'));
  }

  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    return iterate(this);
  }

  // ── Called by its sides ──────────────────────────────────────────────────────────────────────

  /** The next chunk from quiche; `undefined`: none now, or the end. */
  pull(into?: Uint8Array): Uint8Array | undefined {
    try {
      const got = this.#owner.readStream(this.number, into);
      if (got === null) return undefined;
      if (got.fin) {
        this.#receive.finish();
        this.#forgetIfDone();
      }
      return got.chunk.length === 0 ? undefined : got.chunk;
    } catch (error) {
      const code = codeIn(error, 'StreamReset');
      this.#receive.abandon(
        code === undefined
          ? new LeanError('ERR_STREAM_CLOSED', `stream failed: ${messageOf(error)}`)
          : new StreamResetError(
              'ERR_STREAM_RESET',
              code,
              `the peer reset the stream (code ${code})`,
            ),
      );
      this.#forgetIfDone();
      return undefined;
    }
  }

  onReader(waits: boolean): void {
    this.#owner.setReading(this, waits);
  }

  hasRoom(): boolean {
    const { bytes } = this.#pending;
    return bytes < HIGH_WATER && (this.#memory?.mayWrite(bytes) ?? true);
  }

  onWriter(waits: boolean): void {
    if (waits) this.#owner.stalls.add(this);
    else this.#owner.stalls.delete(this);
  }

  // ── Called by the connection ─────────────────────────────────────────────────────────────────

  /** There is something to read, or the peer reset the stream. False: nobody will ever read it. */
  onReadable(): boolean {
    if (!this.#receive.isOpen) return false;
    this.#receive.wake();
    return true;
  }

  /** Whether the peer's FIN has come, once this side has ended; {@link ReceiveSide.lookForEnd}. */
  lookForEnd(): void {
    if (this.#writeEnded) this.#receive.lookForEnd();
  }

  /** There may be room to write. */
  onWritable(): void {
    for (let chunk = this.#pending.first(); chunk !== undefined; chunk = this.#pending.first()) {
      const written = this.#give(chunk, false, true);
      if (this.#writeEnded) return;
      this.#pending.drop(written);
      this.#memory?.addUnsent(-written);
      if (written < chunk.length) break;
    }
    if (this.#pending.bytes === 0) {
      this.#owner.setBlocked(this, false);
      if (this.#send.isClosed) this.#finish();
    }
    if (this.hasRoom()) this.#send.wake();
  }

  /** The FIN is on its way. */
  onFinSent(): void {
    this.#writeEnded = true;
    this.#forgetIfDone();
  }

  /** The peer has taken nothing for too long; stall-watch.ts. */
  onStalled(error: LeanError): void {
    this.#abandon(STREAM_RESOURCE_LIMIT_EXCEEDED, error);
  }

  /** Keeps what arrived before the end readable, then fails. */
  onConnectionEnd(error: LeanError): void {
    this.#receive.wake();
    while (this.#receive.isOpen) {
      const chunk = this.pull();
      if (chunk === undefined) this.#receive.close(error);
      else this.#receive.push(chunk);
    }
    this.#endWrite(error);
  }

  // ── Inside ───────────────────────────────────────────────────────────────────────────────────

  #keep(chunk: Uint8Array): void {
    this.#pending.push(chunk);
    this.#memory?.addUnsent(chunk.length);
  }

  /** `again`: there was no room the last time. */
  #give(chunk: Uint8Array, fin: boolean, again = false): number {
    try {
      if (again && !this.#owner.hasRoom(this.number)) return 0;
      const written = this.#owner.writeStream(this.number, chunk, fin);
      if (written > 0) this.#writtenAt = this.#owner.flushes;
      this.sentBytes += written;
      return written;
    } catch (error) {
      // A stream that the peer stopped may be gone for quiche already; a reset came with it then.
      const { error: readError } = this.#receive;
      const code =
        codeIn(error, 'StreamStopped') ??
        (readError instanceof StreamResetError ? readError.resetCode : undefined);
      this.#endWrite(
        code === undefined
          ? new LeanError('ERR_STREAM_CLOSED', `stream failed: ${messageOf(error)}`)
          : new StreamResetError(
              'ERR_STREAM_STOPPED',
              code,
              `the peer stopped reading (code ${code})`,
            ),
      );
      return 0;
    }
  }

  /** All bytes are with quiche: sends the FIN with the last of them, or after them. */
  #finish(): void {
    if (this.#writeEnded) return;
    if (this.#writtenAt === this.#owner.flushes) {
      this.#give(NOTHING, true);
      this.onFinSent();
    } else {
      this.#owner.sendFin(this);
    }
  }

  #stopReading(code: number, error: LeanError): void {
    const wasOpen = this.#receive.isOpen;
    this.#receive.abandon(error);
    // Read off what has arrived: quiche does not give its flow control window back otherwise.
    if (wasOpen && !this.#discard()) this.#owner.shutdownStream(this.number, 0, code);
    this.#forgetIfDone();
  }

  /** @returns whether nothing more can come. */
  #discard(): boolean {
    try {
      for (;;) {
        const got = this.#owner.readStream(this.number);
        if (got === null) return false;
        if (got.fin) return true;
      }
    } catch {
      return true;
    }
  }

  #abandon(code: number, writeError: LeanError): void {
    if (!this.#writeEnded) this.#owner.shutdownStream(this.number, 1, code);
    this.#endWrite(writeError);
    this.#stopReading(
      code,
      new StreamResetError('ERR_STREAM_RESET', code, 'this side reset the stream', 'local'),
    );
  }

  #endWrite(error: LeanError): void {
    this.#writeEnded = true;
    this.#memory?.addUnsent(-this.#pending.bytes);
    this.#pending.clear();
    this.#owner.setBlocked(this, false);
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
