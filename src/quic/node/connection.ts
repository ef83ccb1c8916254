/** One session of `node:quic` as a {@link QuicConnection}. */

import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { type CloseReason, describeClose } from '../../close-reason.ts';
import { ConnectionMemory, tooMuchMemory } from '../../connection-memory.ts';
import { abortedBy } from '../../deadline.ts';
import { LeanError, messageOf } from '../../errors.ts';
import { RUNTIME } from '../../runtime.ts';
import type { SocketAddress } from '../../socket-address.ts';
import { StallWatch } from '../../stream/stall-watch.ts';
import type { Stream } from '../../stream.ts';
import { BAD_CERTIFICATE, type QuicConnection } from '../engine.ts';
import type { QuicLimits } from '../limits.ts';
import { type FinGate, finGate, openGate } from './fin-gate.ts';
import { type FinishClose, finishCloseOf } from './finish-close.ts';
import { withFirstOwner } from './first-owner.ts';
import { MemoryPoll, STREAM_BYTES } from './memory-poll.ts';
import { neverOpened } from './never-opened.ts';
import { NodeQuicEngineStream, type StreamOwner } from './stream.ts';
import { StreamSlots } from './stream-slots.ts';
import type { NodeQuicAddress, NodeQuicError, NodeQuicSession, NodeQuicStream } from './types.ts';
import { FIRST_BUDGET, fixedBudget, type WriteBudget, writeBudget } from './write-budget.ts';

/** Polling interval for a stream that waits for the peer's limit, as node:quic has no event for it; milliseconds. */
const LIMIT_POLL = 2;
/** Added to three round trips; milliseconds. */
const CONFIRM_WAIT = 50;
/** A CONNECTION_CLOSE must fit into one packet. */
const MAX_REASON = 256;

interface WaitingStream {
  /** Whether it is done: opened, failed or given up. */
  check(): boolean;
  /** The connection has ended. */
  fail(): void;
}

export class NodeQuicEngineConnection implements QuicConnection, StreamOwner {
  readonly localAddress: SocketAddress;
  readonly remoteAddress: SocketAddress;
  readonly closed: Promise<CloseReason>;
  /** Set by {@link authenticated}. */
  peerCertificate: Uint8Array = new Uint8Array(0);

  readonly memory: ConnectionMemory;
  readonly stalls: StallWatch;
  readonly poll: MemoryPoll;

  /** For its streams. */
  readonly budget: WriteBudget;

  readonly #session: NodeQuicSession;
  readonly #streams = new Set<NodeQuicEngineStream>();
  /** Streams that we opened; each has a slot. */
  readonly #ours = new Set<NodeQuicEngineStream>();
  #slots: StreamSlots | undefined;
  readonly #incoming: Stream[] = [];
  readonly #accepting: ((stream: Stream | null) => void)[] = [];
  readonly #waiting: WaitingStream[] = [];
  #polling = false;
  readonly #fins: FinGate;
  #ended: CloseReason | undefined;
  #endedError: LeanError | undefined;
  #endClosed: (reason: CloseReason) => void = () => {};
  #closing: Promise<void> | undefined;
  /** The close reason that node:quic receives from ngtcp2 and does not expose. */
  #report: CloseReason | undefined;

  constructor(session: NodeQuicSession, { connectionMemory, stallTimeout }: QuicLimits) {
    this.#session = session;
    this.memory = new ConnectionMemory(connectionMemory, STREAM_BYTES, () => {
      const { code, reason } = tooMuchMemory(connectionMemory);
      this.close(code, reason).catch(ignore);
    });
    this.stalls = new StallWatch(stallTimeout);
    this.poll = new MemoryPoll(this.memory);
    const resume = (): void => {
      for (const stream of this.#streams) stream.resume();
    };
    this.budget = RUNTIME.quicLosesPackets ? writeBudget(session.stats) : fixedBudget;
    this.#fins = RUNTIME.quicLosesPackets ? finGate(session.stats, resume) : openGate;
    const path = session.path;
    this.localAddress = addressOf(path?.local);
    this.remoteAddress = addressOf(path?.remote);
    this.closed = new Promise((resolve) => {
      this.#endClosed = resolve;
    });
    this.#listenToEnd();
    session.closed.then(
      () => this.#finish(this.#report ?? remoteClose(undefined)),
      (error) => this.#finish(this.#report ?? remoteClose(error as NodeQuicError)),
    );
  }

  /** Made at the first use. */
  get endedError(): LeanError | undefined {
    return this.#endedError;
  }

  /**
   * `session.closed` resolves alike for the idle timeout and for a close with code 0, and loses the
   * latter's reason. Node's internal notification has both, so it is intercepted in the versions in which
   * it is known. Elsewhere an end without an error counts as closed by the peer.
   */
  #listenToEnd(): void {
    const session = this.#session as NodeQuicSession & Record<symbol, unknown>;
    const symbol = finishCloseOf(session);
    if (symbol === undefined) return;
    const finish = session[symbol] as FinishClose;
    const report: FinishClose = (type, code, reason, ...rest) => {
      this.#report ??= reportedClose(type, code, reason);
      return finish.call(session, type, code, reason, ...rest);
    };
    session[symbol] = report;
  }

  /** Streams that came earlier, if any, are kept until someone accepts them. */
  accept(raw: NodeQuicStream): void {
    raw.closed.catch(ignore);
    if (this.#ended !== undefined) {
      raw.destroy();
      return;
    }
    raw.budget = FIRST_BUDGET;
    raw.highWaterMark = FIRST_BUDGET;
    const stream = this.#track(raw);
    const take = this.#accepting.shift();
    if (take === undefined) this.#incoming.push(stream);
    else take(stream);
  }

  #track(raw: NodeQuicStream): NodeQuicEngineStream {
    const stream = new NodeQuicEngineStream(raw, this);
    this.#streams.add(stream);
    this.memory.addStreams(1);
    return stream;
  }

  forget(stream: NodeQuicEngineStream): void {
    if (this.#streams.delete(stream)) this.memory.addStreams(-1);
    if (this.#ours.delete(stream)) this.#slots?.give();
    this.poll.forget(stream);
  }

  async openStream(signal?: AbortSignal): Promise<Stream> {
    if (signal?.aborted === true) throw abortedBy(signal, 'opening a stream');
    if (this.#ended !== undefined) throw this.endedError;
    this.#slots ??= new StreamSlots(streamLimitOf(this.#session));
    const slot = this.#slots.take(signal);
    if (slot !== undefined) await slot;
    try {
      const raw = await this.#create();
      if (this.#ended !== undefined || raw.id === null) await this.#untilOpen(raw, signal);
      const stream = this.#track(raw);
      this.#ours.add(stream);
      return stream;
    } catch (error) {
      this.#slots.give();
      throw error;
    }
  }

  async #create(): Promise<NodeQuicStream> {
    if (this.#ended !== undefined) throw this.endedError;
    try {
      const raw = await withFirstOwner(() =>
        this.#session.createBidirectionalStream({
          budget: FIRST_BUDGET,
          highWaterMark: FIRST_BUDGET,
        }),
      );
      raw.closed.catch(ignore);
      return raw;
    } catch (error) {
      throw this.endedError ?? new LeanError('ERR_CONNECTION_CLOSED', messageOf(error));
    }
  }

  /** The peer knows that a stream has ended, but its MAX_STREAMS has not arrived yet. */
  async #untilOpen(raw: NodeQuicStream, signal: AbortSignal | undefined): Promise<void> {
    let onAbort: (() => void) | undefined;
    try {
      if (this.#ended !== undefined) throw this.endedError;
      await new Promise<void>((resolve, reject) => {
        const fail = (): void => {
          const error = new LeanError('ERR_CONNECTION_CLOSED', 'it ended before the stream opened');
          reject(this.endedError ?? error);
        };
        const waiting: WaitingStream = {
          check() {
            if (signal?.aborted === true) return true;
            // A destroyed stream has an id, too; Bun tells of the connection's end after that of its streams.
            if (raw.destroyed) fail();
            else if (raw.id === null) return false;
            else resolve();
            return true;
          },
          fail,
        };
        onAbort = () => reject(abortedBy(signal as AbortSignal, 'opening a stream'));
        if (signal?.aborted === true) onAbort();
        signal?.addEventListener('abort', onAbort, { once: true });
        this.#waiting.push(waiting);
        this.#poll();
      });
    } catch (error) {
      giveUp(raw);
      throw error;
    } finally {
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
    }
  }

  #poll(): void {
    if (this.#polling) return;
    this.#polling = true;
    setTimeout(() => {
      this.#polling = false;
      // Streams open in the order they were asked for.
      while (this.#waiting[0]?.check() === true) this.#waiting.shift();
      if (this.#waiting.length > 0) this.#poll();
    }, LIMIT_POLL);
  }

  get fins(): FinGate {
    return this.#fins;
  }

  acceptStream(): Promise<Stream | null> {
    if (this.#ended !== undefined) return Promise.resolve(null);
    const stream = this.#incoming.shift();
    if (stream !== undefined) return Promise.resolve(stream);
    return new Promise((resolve) => this.#accepting.push(resolve));
  }

  close(code = 0, reason = ''): Promise<void> {
    this.#closing ??= this.#close({ by: 'local', code, application: true, reason });
    return this.#closing;
  }

  /** `authenticate` threw: the peer gets TLS alert bad_certificate and the reason. */
  refuse(error: unknown): Promise<void> {
    this.#closing ??= this.#close({
      by: 'local',
      code: BAD_CERTIFICATE,
      application: false,
      reason: messageOf(error),
    });
    return this.#closing;
  }

  async #close(close: CloseReason): Promise<void> {
    this.#finish(close);
    await this.#confirmed();
    if (!this.#session.destroyed) {
      // Without an error, which would cost a RESET_STREAM and a STOP_SENDING for every stream;
      // `session.close()` would wait for them.
      this.#session.destroy(undefined, {
        code: BigInt(close.code),
        type: close.application ? 'application' : 'transport',
        reason: close.reason.slice(0, MAX_REASON),
      });
    }
    await nextTurn();
  }

  /**
   * A session destroyed in the turn of its handshake never sends its last handshake flight, and the peer
   * never learns of the connection. And before the handshake is confirmed (RFC 9001 section
   * 4.1.2) CONNECTION_CLOSE is sent as a Handshake and a 1-RTT packet in one datagram; quiche drops
   * both once it has discarded its Handshake keys. So this waits one round trip for the confirmation.
   */
  async #confirmed(): Promise<void> {
    await nextTurn();
    const { stats } = this.#session;
    const until = performance.now() + CONFIRM_WAIT + (3 * Number(stats.smoothedRtt)) / 1e6;
    while (
      RUNTIME.quicCounts &&
      stats.handshakeConfirmedAt === 0n &&
      !this.#session.destroyed &&
      performance.now() < until
    ) {
      await delay(1);
    }
  }

  #finish(reason: CloseReason): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    const error = new LeanError('ERR_CONNECTION_CLOSED', describeClose(reason));
    this.#endedError = error;
    for (const stream of this.#streams) stream.connectionEnded(error);
    for (const waiting of this.#waiting.splice(0)) waiting.fail();
    this.#slots?.end(error);
    for (const take of this.#accepting.splice(0)) take(null);
    this.#fins.stop();
    this.#incoming.length = 0;
    this.#endClosed(reason);
  }
}

const ignore = (): void => {};

/** Before anything was sent. It may be open by now: the peer gives no credit for a stream that it never heard of. */
const giveUp = (raw: NodeQuicStream): void => {
  if (!raw.destroyed && raw.id !== null) {
    raw.resetStream(0n);
    raw.stopSending(0n);
  }
  raw.destroy();
  neverOpened();
};

/** The peer's initial stream limit; unlimited where the runtime does not expose it. */
const streamLimitOf = ({ remoteTransportParams }: NodeQuicSession): number =>
  Number(remoteTransportParams?.initialMaxStreamsBidi ?? Number.POSITIVE_INFINITY);

/** `ngtcp2_ccerr_type`, as `node:quic` passes it on. */
const TRANSPORT = 0;
const APPLICATION = 1;
const IDLE = 3;

const reportedClose = (type: number, code: bigint, reason: string | undefined): CloseReason => ({
  by: type === IDLE ? 'timeout' : type === TRANSPORT || type === APPLICATION ? 'remote' : 'error',
  code: Number(code),
  application: type === APPLICATION,
  reason: reason ?? '',
});

const remoteClose = (error: NodeQuicError | undefined): CloseReason => ({
  by: error === undefined || error.errorCode !== undefined ? 'remote' : 'error',
  code: Number(error?.errorCode ?? 0n),
  application: error?.type !== 'transport',
  reason: error === undefined ? '' : (error.reason ?? messageOf(error)),
});

/** A listener on `::` with IPv4 shows such peers as `::ffff:1.2.3.4`. Unspecified when there is none. */
export const addressOf = (address: NodeQuicAddress | undefined): SocketAddress => ({
  host: (address?.address ?? '0.0.0.0').replace(/^::ffff:(?=\d+\.)/i, ''),
  port: address?.port ?? 0,
});
